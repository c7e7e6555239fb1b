#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# same_traces.sh COUNT GEMEL_SIM...: runs the seeds from 1 on in each of these builds: whatever the
# compiler and its options, every run must be the same to the last event.
set -euo pipefail
count=$1
shift

traces() { "$1" --from 1 --count "$count" | sed -n 's/^traces of all: //p'; }

expected=
for simulator in "$@"; do
    found=$(traces "$simulator")
    echo "$found  $simulator"
    [[ -n $found ]] || exit 1
    : "${expected:=$found}"
    [[ $found == "$expected" ]] || different=yes
done
[[ -v different ]] || exit 0

for ((seed = 1; seed <= count; ++seed)); do
    for simulator in "$@"; do
        "$simulator" --seed "$seed" | grep "^seed $seed: trace" || echo "seed $seed fails"
    done | sort -u | wc -l | grep -qx 1 || {
        echo "differs: $1 --seed $seed --trace" >&2
        exit 1
    }
done
echo "the builds differ over all seeds, and in none alone" >&2
exit 1
