#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# soak.sh MINUTES: first the bugs planted on purpose (tests/mutants), which the simulator must find;
# then fresh simulated seeds, fuzzing, and kill -9 cycles against the real binary, in turns, until
# the time is over. Ends at the first failure, which prints how to repeat it. A round
# is never cut short: at least 200 cycles run, however few minutes were asked for.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly RELEASE=$PWD/build/release SEEDS=2000 FUZZ_SECONDS=30 CYCLES=200
end=$((SECONDS + $1 * 60))
rounds=0

printf '\n==> bugs planted on purpose\n'
tests/mutants/run.sh --jobs "$(nproc)"
while true; do
    rounds=$((rounds + 1))
    printf '\n==> soak round %d: %d fresh seeds\n' "$rounds" "$SEEDS"
    tests/fresh_seeds.sh "$RELEASE/gemel-sim" "$SEEDS" "$(nproc)"
    for program in build/fuzz/*_fuzz; do
        target=$(basename "$program" _fuzz)
        printf '\n==> soak round %d: fuzzing %s for %d s\n' "$rounds" "$target" "$FUZZ_SECONDS"
        mkdir -p "build/fuzz/corpus/$target"
        "$program" -max_total_time="$FUZZ_SECONDS" -verbosity=0 -artifact_prefix=build/fuzz/ \
            "build/fuzz/corpus/$target" "tests/fuzz/corpus/$target"
    done
    printf '\n==> soak round %d: %d times kill -9\n' "$rounds" "$CYCLES"
    GEMEL_BUILD_DIR=$RELEASE /usr/bin/python3 tests/system/crash_test.py --cycles "$CYCLES"
    ((SECONDS < end)) || break
done
printf '\nsoaked for %d minutes: %d rounds of %d seeds and %d kills, nothing lost\n' \
    $((SECONDS / 60)) "$rounds" "$SEEDS" "$CYCLES"
