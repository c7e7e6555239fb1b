// SPDX-License-Identifier: Apache-2.0
//
// SeedBatch: some seeds, one after the other, in a process of their own, and what it says of them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <vector>

#include "tests/sim/seed_report.h"

namespace gemel::sim {

using SeedFunction = std::function<SeedReport(uint64_t seed)>;

struct SeedRange {
    uint64_t first = 1;
    uint64_t count = 1;
};

struct BatchOptions {
    unsigned seconds_max = 300;  // Per seed, of real time; more is a failure.
    bool twice = false;          // Each seed again, and its trace must be the same.
};

class SeedBatch {
public:
    // Starts the process. It ends after the first seed that fails.
    SeedBatch(const BatchOptions& options, const SeedFunction& run, SeedRange seeds);
    ~SeedBatch();
    SeedBatch(const SeedBatch&) = delete;
    SeedBatch& operator=(const SeedBatch&) = delete;

    pid_t pid() const { return pid_; }
    const SeedRange& seeds() const { return seeds_; }

    // After its end, which was so: what became of the first seeds of the range, in order. The last
    // one may have failed; those after it have not run. There is one at least.
    std::vector<SeedReport> reports(int wait_status);

private:
    SeedRange seeds_;
    pid_t pid_ = 0;
    std::FILE* answer_ = nullptr;  // A file without a name, shared with the process.
};

}  // namespace gemel::sim
