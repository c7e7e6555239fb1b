// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/minimise.h"

#include <cinttypes>
#include <cstdio>
#include <string>

#include "tests/sim/runner.h"
#include "tests/sim/volume_scenario.h"

namespace gemel::sim {

namespace {

// Empty if the seed does not fail.
std::string failure_with(uint64_t seed, FaultSet faults) {
    const auto run = [faults](uint64_t number) {
        return VolumeScenario({.seed = number, .faults = faults}).run();
    };
    return run_apart(run, seed).failure;
}

}  // namespace

bool minimise(uint64_t seed, FaultSet allowed) {
    std::string failure = failure_with(seed, allowed);
    if (failure.empty()) {
        std::printf("seed %" PRIu64 " does not fail\n", seed);
        return false;
    }
    std::printf("seed %" PRIu64 " FAILED: %s\n", seed, failure.c_str());
    // Again after each success: what was needed may not be any more.
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < kFaultClasses; ++i) {
            const auto fault = static_cast<FaultClass>(i);
            if (!allowed.has(fault)) continue;
            FaultSet fewer = allowed;
            fewer.remove(fault);
            const std::string still = failure_with(seed, fewer);
            std::printf("  without %-14s %s\n", name(fault),
                        still.empty() ? "passes" : still.c_str());
            if (still.empty()) continue;
            allowed = fewer;
            failure = still;
            again = true;
        }
    }
    const std::string needed = allowed.names();
    const std::string without = (~allowed).names();
    std::printf("needed: %s\nfails with: %s\n  replay: gemel-sim --seed %" PRIu64
                " --without %s --trace\n",
                needed.empty() ? "none" : needed.c_str(), failure.c_str(), seed, without.c_str());
    return true;
}

}  // namespace gemel::sim
