// SPDX-License-Identifier: Apache-2.0
//
// Runs many seeds, each in a process of its own: what a seed leaks, breaks or never ends costs
// nothing but that seed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/sim/seed_report.h"

namespace gemel::sim {

struct RunnerOptions {
    uint64_t from = 1;
    uint64_t count = 1;
    uint64_t jobs = 1;
    uint64_t failures_max = 10;  // Then no new seeds are started.
    unsigned seconds_max = 300;  // Per seed, of real time; more is a failure.
    bool twice = false;          // Each seed again, and its trace must be the same.
    std::string replay_options;  // What else a command that replays a seed needs.
};

using SeedFunction = std::function<SeedReport(uint64_t seed)>;

// Runs one seed in a process of its own.
SeedReport run_apart(const RunnerOptions& options, const SeedFunction& run, uint64_t seed);

// Prints every failure with the command that replays it, and a summary. True if none failed.
bool run_seeds(const RunnerOptions& options, const SeedFunction& run);

// The summary of one report, for people.
void print_counts(const SeedReport& report);

}  // namespace gemel::sim
