#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# fresh_seeds.sh GEMEL_SIM COUNT [JOBS]: runs seeds that nobody has run before. A seed that fails
# is printed by gemel-sim with the command that replays it.
set -euo pipefail
simulator=$1
count=$2
jobs=${3:-1}

# Below 2^47, so that ranges from two runs practically never meet.
first=$(($(od -An -N6 -tu8 /dev/urandom) / 2 + 1000000))
echo "fresh seeds: $simulator --from $first --count $count --jobs $jobs"
exec "$simulator" --from "$first" --count "$count" --jobs "$jobs"
