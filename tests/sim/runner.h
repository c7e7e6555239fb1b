// SPDX-License-Identifier: Apache-2.0
//
// Runs many seeds, some at a time in a process of their own: what a seed breaks or never ends costs
// nothing but that seed, and the memory of one serves the next (see seed_memory.h).
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/seed_batch.h"
#include "tests/sim/seed_report.h"

namespace gemel::sim {

struct RunnerOptions {
    uint64_t from = 1;
    uint64_t count = 1;
    uint64_t jobs = 1;
    uint64_t failures_max = 10;  // Then no new seeds are started.
    BatchOptions each;
    std::string replay_options;  // What else a command that replays a seed needs.
    // Of so many seeds together everything there is must have been seen: see coverage.h.
    uint64_t covers_from = UINT64_MAX;
};

// Runs one seed in a process of its own.
SeedReport run_apart(const SeedFunction& run, uint64_t seed);

// Prints every failure with the command that replays it, and a summary. True if none failed.
bool run_seeds(const RunnerOptions& options, const SeedFunction& run);

// The summary of one report, for people.
void print_counts(const SeedReport& report);

}  // namespace gemel::sim
