// SPDX-License-Identifier: Apache-2.0
//
// What a member's past was like, kept on the member itself: damage found and healed, errors of the
// device, how far the scrub has come, and the blocks of which no member had a good copy. For people
// and for the scrub only: losing it loses no data, so it is written now and then, without a flush,
// into two slots in turn.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "blockdev/disk.h"
#include "blockdev/disk_format.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

struct UnrecoverableRange {
    le64 first_block;
    le64 block_count;
};

inline constexpr uint32_t kHealthMagic = 0x4c454847;  // "GHEL"
inline constexpr uint64_t kHealthOffset = 64ull << 10;
inline constexpr uint64_t kHealthSlotSize = 64ull << 10;
inline constexpr size_t kHealthCauses = 8;
inline constexpr size_t kHealthRanges = 4064;

struct HealthRecord {
    le64 checksum;  // XXH3-64 of everything after it, seeded with place_seed().
    le32 magic;
    le32 version;
    le64 generation;  // The valid slot with the higher one counts.
    le64 blocks_verified;
    le64 mismatches;
    le64 blocks_healed;
    le64 tables_repaired;
    le64 log_blocks_healed;
    le64 read_errors;
    le64 write_errors;
    le64 healed_by_cause[kHealthCauses];
    le64 last_event_s;  // Seconds since 1970; 0: there was none.
    le64 scrub_next_page;
    le64 scrub_started_s;
    le64 scrub_finished_s;  // The last pass that came to its end.
    le64 scrub_passes;
    char last_event[192];  // Zero-padded.
    le32 range_count;
    le32 ranges_missing;  // 1: there were more than fit.
    uint8_t reserved[128];
    UnrecoverableRange ranges[kHealthRanges];
};
static_assert(sizeof(HealthRecord) == kHealthSlotSize);
static_assert(kHealthOffset + 2 * kHealthSlotSize <= (1ull << 20));  // In the reserved space.

struct MemberHealth {
    uint64_t blocks_verified = 0;
    uint64_t mismatches = 0;
    uint64_t blocks_healed = 0;
    uint64_t tables_repaired = 0;
    uint64_t log_blocks_healed = 0;
    uint64_t read_errors = 0;
    uint64_t write_errors = 0;
    std::array<uint64_t, kHealthCauses> healed_by_cause{};
    uint64_t last_event_s = 0;
    std::string last_event;
    uint64_t scrub_next_page = 0;
    uint64_t scrub_started_s = 0;
    uint64_t scrub_finished_s = 0;
    uint64_t scrub_passes = 0;
    struct Range {
        uint64_t first_block = 0;
        uint64_t block_count = 0;
        bool operator==(const Range&) const = default;
    };
    std::vector<Range> unrecoverable;
    bool unrecoverable_is_complete = true;
    uint64_t generation = 0;  // Of the slot it was read from.

    bool operator==(const MemberHealth&) const = default;
};

// A member without a valid record (new, or both slots damaged) has had a good life.
Task<MemberHealth> read_health(Disk& disk, Uuid member);
// How many of the slots do not hold what they should where the newest one is of this generation. A
// crash may have torn the one that was being written.
Task<uint64_t> count_damaged_health(Disk& disk, Uuid member, uint64_t generation);
// Writes the slot that is not the newest. `health` must live until the task ends.
Task<Status> write_health(Disk& disk, Uuid member, const MemberHealth& health);

}  // namespace gemel::blockdev
