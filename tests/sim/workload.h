// SPDX-License-Identifier: Apache-2.0
//
// Clients of a block device: random calls of every kind, size and alignment, each told to the
// oracle, every answer checked.
#pragma once

#include <cstdint>
#include <string>

#include "blockdev/block_device.h"
#include "blockdev/task.h"
#include "tests/sim/oracle.h"
#include "tests/sim/random.h"
#include "tests/sim/seed_report.h"
#include "tests/sim/sim_env.h"

namespace gemel::sim {

// What the clients of one run like to do. Weights are relative.
struct WorkloadOptions {
    uint32_t clients = 4;
    uint32_t calls_per_client = 50;
    uint32_t read_weight = 10;
    uint32_t write_weight = 10;
    uint32_t trim_weight = 1;
    uint32_t zero_weight = 1;
    uint32_t flush_weight = 1;
    uint32_t fua_rate = 50'000;  // Parts per million of what changes.
    uint32_t unaligned_rate = 200'000;
    uint64_t length_max = 64 << 10;  // Of reads and writes.
    uint64_t clear_length_max = 1 << 20;
    uint32_t hot_rate = 500'000;  // Of calls that go to the hot range.
    uint64_t hot_begin = 0;
    uint64_t hot_length = 64 << 10;
    uint64_t pause_ns_max = 100'000;
    bool space_is_short = false;  // Changing calls may be refused with no_space.
};
WorkloadOptions draw_workload(Random& random, uint64_t size);

class Workload {
public:
    Workload(SimEnv& env, BlockDevice& device, Oracle& oracle, WorkloadOptions options,
             SeedReport& report);

    // Starts the clients in `scope`.
    void start(Scope& scope);
    // No new calls any more.
    void stop() { stopping_ = true; }

private:
    struct Range {
        uint64_t offset = 0;
        uint64_t length = 0;
    };
    Range draw_range(Random& random, uint64_t length_max);
    Task<void> client(uint64_t seed);
    Task<void> one_call(Random& random);
    Task<void> read(Range range);
    Task<void> write(Range range, bool fua, uint64_t misalignment);
    Task<void> zero(Range range, bool fua, bool keep_allocated);
    Task<void> trim(Range range, bool fua);
    Task<void> flush();
    void changed(Oracle::Call* call, const Status& status, const char* what);
    void fail(const std::string& text);

    SimEnv& env_;
    BlockDevice& device_;
    Oracle& oracle_;
    WorkloadOptions options_;
    SeedReport& report_;
    bool stopping_ = false;
};

}  // namespace gemel::sim
