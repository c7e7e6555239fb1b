// SPDX-License-Identifier: Apache-2.0
//
// Random requests, as many in flight as this cycle's profile wants, each kept in the record.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/system/crash_client.h"
#include "tests/system/crash_record.h"

namespace gemel::crash {

using Clock = std::chrono::steady_clock;
using Random = std::mt19937_64;

uint64_t pick(Random& random, uint64_t first, uint64_t last);  // Both included.

struct LoadOptions {
    uint64_t seed = 0;
    bool trim = true;
};

struct LoadCounts {
    uint64_t writes = 0;
    uint64_t write_bytes = 0;
    uint64_t reads = 0;
    uint64_t others = 0;  // Flushes, trims, write-zeroes.
};

class Load {
public:
    Load(LoadOptions options, Record& record, Client& client, Random& random);

    void choose_profile();
    void run_until(Clock::time_point end);
    // Takes the answers that a server sent before it died. Throws if the connections do not die.
    void drain(Clock::time_point deadline);

    size_t queue_depth() const { return queue_depth_; }
    const LoadCounts& counts() const { return counts_; }

private:
    enum class Request : uint8_t { none, change, read, flush };
    struct Slot {
        Request request = Request::none;
        Version version = 0;
        Record::Read read;
        uint64_t length = 0;
        std::vector<uint8_t> buffer;
    };
    struct Place {
        uint64_t offset = 0;
        uint64_t length = 0;
    };

    void fill_queue();
    void issue(size_t tag);
    void issue_write(size_t tag, Place place);
    Place pick_place(uint64_t length_max);
    uint64_t pick_sectors(uint64_t length_max);
    void handle(const std::vector<Client::Completion>& ended);
    void finish(Slot& slot);

    LoadOptions options_;
    Record& record_;
    Client& client_;
    Random& random_;
    std::vector<Slot> slots_;
    std::vector<size_t> idle_;
    LoadCounts counts_;
    // The profile.
    size_t queue_depth_ = 1;
    uint64_t hot_offset_ = 0;  // Where requests meet on purpose.
    uint64_t hot_percent_ = 0;
    uint64_t large_percent_ = 0;  // Of the writes: above the atomic limit.
    uint64_t flush_percent_ = 0;
    uint64_t discard_percent_ = 0;  // Trims and write-zeroes.
    uint64_t read_percent_ = 0;
    uint64_t fua_percent_ = 0;
};

}  // namespace gemel::crash
