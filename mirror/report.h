// SPDX-License-Identifier: Apache-2.0
//
// What a volume and its members say of themselves: plain values for `gemel status`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/disk_format.h"
#include "blockdev/uuid.h"
#include "mirror/resync_report.h"
#include "mirror/scrub_report.h"

namespace gemel::mirror {

struct MemberReport {
    Uuid uuid;
    std::string path;
    std::string state;       // Of the design: "in-sync", "failed", ...
    std::string why;         // What is the matter, if it is not in sync.
    bool released = false;   // Its file or device is not open.
    std::string configured;  // What the configuration says of it; empty: not known.
    bool is_spare = false;   // By its role, also while it stands in for another one.
    std::string replaces;    // The path of the member that leaves once this one is in sync.
    // How far it had been brought up to date when that was interrupted.
    std::optional<blockdev::ResyncRecord> resync;
    bool direct = true;            // False: the page cache is used.
    uint64_t logged_sequence = 0;  // Contiguously logged up to here.
    uint64_t stable_sequence = 0;
    uint64_t checkpoint_sequence = 0;  // Everything up to here is home.
    uint64_t log_bytes_used = 0;
    uint64_t log_bytes_total = 0;
    uint64_t blocks_read = 0;
    uint64_t blocks_verified = 0;
    uint64_t mismatches = 0;
    uint64_t blocks_healed = 0;
    uint64_t tables_repaired = 0;
    DamageCounts damage{};  // Healed blocks, by cause.
    uint64_t log_blocks_healed = 0;
    std::string last_event;  // What was found or done last, and when.
    uint64_t last_event_s = 0;
    uint64_t read_errors = 0;
    uint64_t write_errors = 0;
    // Of small reads by clients, lately; 0: not known.
    uint64_t read_p50_us = 0;
    uint64_t read_p99_us = 0;
    uint64_t free_bytes = UINT64_MAX;  // Of its file system; UINT64_MAX for block devices.
};

struct VolumeReport {
    std::string name;
    Uuid uuid;
    uint64_t size = 0;
    std::string layout = "mirror";
    std::string consistency = "sync";
    std::string state;  // "serving", "stopped" (with `stopped_because`).
    std::string stopped_because;
    uint64_t epoch = 0;
    uint64_t commit_sequence = 0;
    uint64_t stable_sequence = 0;
    uint64_t reads = 0, writes = 0, flushes = 0, trims = 0;
    uint64_t bytes_read = 0, bytes_written = 0;
    uint64_t batches = 0;
    uint64_t checkpoints = 0;
    // Reads that were given to a second member because the first was late, those that it answered,
    // and those given to two at once to know a slow member's latency.
    uint64_t reads_raced = 0, races_won = 0, probes = 0;
    bool short_of_space = false;  // New allocating writes get ENOSPC.
    uint64_t unrecoverable_blocks = 0;
    std::vector<BlockRange> unrecoverable;  // Of which no member has a good copy.
    ScrubReport scrub;
    ResyncReport resync;
    std::string resync_member;  // Empty: none is being brought up to date.
    std::vector<MemberReport> members;
};

}  // namespace gemel::mirror
