// SPDX-License-Identifier: Apache-2.0
#include "blockdev/copied_blocks.h"

#include <algorithm>

namespace gemel::blockdev {

void CopiedBlocks::copy(uint64_t first_block, std::span<const uint64_t> checksums) {
    for (size_t i = 0; i < checksums.size(); ++i) {
        const uint64_t block = first_block + i;
        Page& page = pages_[block / kPageBlocks];
        page.checksums[block % kPageBlocks] = checksums[i];
        page.copied.set(block % kPageBlocks);
    }
}

void CopiedBlocks::end_page(uint64_t page, uint64_t sequence) {
    Page& ended = pages_[page];
    ended.sequence = std::max(ended.sequence, sequence);
}

void CopiedBlocks::overwrite(const Batch& batch) {
    for (const LogEntry& entry : batch.entries()) {
        if (entry.block_count == 0) continue;
        const uint64_t end = entry.first_block + entry.block_count;
        auto place = pages_.lower_bound(entry.first_block / kPageBlocks);
        for (; place != pages_.end() && place->first * kPageBlocks < end; ++place) {
            const uint64_t first = place->first * kPageBlocks;
            const uint64_t from = std::max<uint64_t>(entry.first_block, first);
            const uint64_t to = std::min(end, first + kPageBlocks);
            for (uint64_t block = from; block < to; ++block) {
                place->second.copied.reset(block - first);
            }
        }
    }
}

}  // namespace gemel::blockdev
