#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh [--jobs J] [NAME]...: plants the bugs of this folder, one at a time, in a copy of the
# tree, builds the simulator and runs seeds from 1 on until one fails. Each patch states in how many
# seeds it must be found; one that is not found by then fails the run. Without names: all of them.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly ROOT=$PWD
readonly WORK=${GEMEL_MUTANTS_DIR:-$PWD/build/mutants}
jobs=1
if [[ ${1:-} == --jobs ]]; then
    jobs=$2
    shift 2
fi
names=("$@")
if ((${#names[@]} == 0)); then
    for patch in tests/mutants/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

# Only what differs is copied, so that little has to be built again.
copy_tree() {
    local file
    find CMakeLists.txt cmake ecc blockdev net mirror tools tests -type f -not -path '*/__pycache__/*' |
        while read -r file; do
            cmp -s "$file" "$WORK/tree/$file" || install -D -m 644 "$file" "$WORK/tree/$file"
        done
}

simulator() {
    cmake --build "$WORK/build" -j "$jobs" --target gemel-sim >"$WORK/build.log" 2>&1 || {
        tail -20 "$WORK/build.log" >&2
        return 1
    }
}

copy_tree
[[ -f $WORK/build/build.ninja ]] ||
    cmake -G Ninja -S "$WORK/tree" -B "$WORK/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
        -DGEMEL_BENCHMARKS=OFF >"$WORK/configure.log"

survivors=0
printf '%-40s %10s %10s\n' mutant found-by must-by
for name in "${names[@]}"; do
    patch=$ROOT/tests/mutants/$name.patch
    seeds=$(sed -n 's/^Seeds: //p' "$patch")
    patch -d "$WORK/tree" -p1 -s <"$patch"
    status=0
    simulator || status=$?
    if ((status == 0)); then
        "$WORK/build/gemel-sim" --from 1 --count "$seeds" --jobs "$jobs" --failures 1 \
            >"$WORK/$name.log" || true
    fi
    patch -d "$WORK/tree" -p1 -s -R <"$patch"
    ((status == 0)) || { echo "$name does not build" >&2; exit 1; }
    found=$(sed -n 's/^seed \([0-9]*\) FAILED.*/\1/p' "$WORK/$name.log" | sort -n | head -1)
    printf '%-40s %10s %10s\n' "$name" "${found:-never}" "$seeds"
    if [[ -z $found ]]; then survivors=$((survivors + 1)); fi
done
if ((survivors != 0)); then
    echo "$survivors mutants survived" >&2
    exit 1
fi
