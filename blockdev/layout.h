// SPDX-License-Identifier: Apache-2.0
//
// Where everything lies on a member. All offsets follow from the maximum size and the log size and
// are fixed for the member's life.
#pragma once

#include <cstdint>

#include "blockdev/disk_format.h"

namespace gemel::blockdev {

inline constexpr uint64_t kMiB = 1ull << 20;
inline constexpr uint64_t kOwnerOffset = kSuperblockSize;  // Behind superblock A.
inline constexpr uint64_t kLogOffset = kMiB;               // The space before it is reserved.
inline constexpr uint64_t kMinimumLogSize = 4 * kMiB;
inline constexpr uint64_t kMaximumLogSize = 64ull << 30;
inline constexpr uint64_t kLogReserve = kMiB;  // Kept free for settlement.
// A ring must take several of the largest batches, or one write could wait for itself.
static_assert(kMinimumLogSize >= kLogReserve + 2 * (kMaximumBatchSize + kBlockSize));

struct Layout {
    uint64_t volume_size = 0;
    uint64_t maximum_size = 0;
    uint64_t log_size = 0;
    uint64_t root_offset = 0;
    uint64_t index_offset = 0;
    uint64_t checksum_offset = 0;
    uint64_t superblock_b_offset = 0;
    uint64_t home_offset = 0;
    uint32_t log_limit = 0;
    bool preallocated = false;

    uint64_t volume_blocks() const { return volume_size / kBlockSize; }
    uint64_t volume_pages() const { return divide_up(volume_size, kPageSpan); }
    uint64_t maximum_pages() const { return divide_up(maximum_size, kPageSpan); }
    uint64_t index_pages() const { return divide_up(maximum_pages(), kIndexEntries); }
    uint64_t root_pages() const { return divide_up(index_pages(), kIndexEntries); }
    uint64_t member_size() const { return home_offset + volume_size; }

    uint64_t checksum_page_offset(uint64_t page, unsigned slot) const {
        return checksum_offset + (page * kSlots + slot) * kBlockSize;
    }
    uint64_t index_page_offset(uint64_t number, unsigned slot) const {
        return index_offset + (number * kSlots + slot) * kBlockSize;
    }
    uint64_t root_page_offset(uint64_t number, unsigned slot) const {
        return root_offset + (number * kSlots + slot) * kBlockSize;
    }
    uint64_t home(uint64_t block) const { return home_offset + block * kBlockSize; }
};

// All sizes must be in range: volume_size <= maximum_size <= kMaximumVolumeSize, multiples of the
// block size; log_size a multiple of 1 MiB within its limits.
Layout make_layout(uint64_t volume_size, uint64_t maximum_size, uint64_t log_size);

GeometryRecord to_record(const Layout& layout);

// Checks a record from disk against the arithmetic above. Returns the first broken rule, or null.
const char* geometry_fault(const GeometryRecord& record);
// Only for a record without fault, and a size that it has room for.
Layout from_record(const GeometryRecord& record, uint64_t volume_size);

}  // namespace gemel::blockdev
