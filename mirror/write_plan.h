// SPDX-License-Identifier: Apache-2.0
//
// How a byte range falls on blocks: pure planning.
#pragma once

#include <cstdint>

#include "blockdev/disk_format.h"

namespace gemel::mirror {

// A trim or write-zeroes entry covers at most this much, so its home operation stays short.
inline constexpr uint64_t kMaximumClearBlocks = (1ull << 30) / blockdev::kBlockSize;

struct WritePlan {
    // The first block, if only its end is covered (or, for a range inside one block, its middle).
    uint64_t head_block = 0;
    uint64_t head_offset = 0;  // Within it.
    uint64_t head_bytes = 0;   // 0: there is none.
    // Whole blocks.
    uint64_t middle_first = 0;
    uint64_t middle_blocks = 0;
    // The last block, if only its beginning is covered.
    uint64_t tail_block = 0;
    uint64_t tail_bytes = 0;
    // All of it goes into one batch.
    bool atomic = false;
};

WritePlan plan_write(uint64_t offset, uint64_t length, uint64_t log_limit);

}  // namespace gemel::mirror
