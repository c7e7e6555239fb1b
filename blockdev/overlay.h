// SPDX-License-Identifier: Apache-2.0
//
// Overlay: the newest version of every block that is in the log and not home yet. Blocks lie in an
// open-addressing table; zeroed ranges, which may be huge, in an ordered map of disjoint intervals.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "blockdev/batch.h"

namespace gemel::blockdev {

struct BlockVersion {
    uint64_t sequence = 0;
    const std::byte* data = nullptr;  // In a batch that the owner of the overlay keeps; null: zero.
    uint64_t checksum = 0;            // 0 for zero.
};

struct ZeroRange {
    uint64_t first_block = 0;
    uint64_t end_block = 0;
    uint64_t sequence = 0;
    bool keep_allocated = false;
};

class Overlay {
public:
    // Enters every write of `batch`. Batches come in the order of their sequence numbers.
    void insert(const Batch& batch);

    // The newest version of `block`, or nothing if it is at home.
    std::optional<BlockVersion> find(uint64_t block) const;
    // True if no block of the range is in the overlay. Cheap where the overlay is empty.
    bool misses(uint64_t first_block, uint64_t block_count) const;

    // Forgets what `home`, an overlay of all batches up to `sequence`, has brought home.
    void remove(const Overlay& home, uint64_t sequence);

    bool empty() const { return used_ == 0 && zeros_.empty(); }
    size_t block_count() const { return used_; }

    struct Block {
        uint64_t number = 0;
        BlockVersion version;
    };
    // In ascending order, each block once: those that a newer zeroed range does not cover.
    std::vector<Block> sorted_blocks() const;
    // Disjoint, ascending. A block written after its range was zeroed is in both.
    std::vector<ZeroRange> zero_ranges() const;
    // The zeroed range covering `block`, or the nearest one that begins after it.
    std::optional<ZeroRange> next_zero_range(uint64_t block) const;

private:
    struct Slot {
        uint64_t block = 0;
        BlockVersion version;  // Sequence 0: the slot is free.
    };
    size_t home_slot(uint64_t block) const;
    void insert_block(uint64_t block, BlockVersion version);
    void insert_zero(ZeroRange range);
    void erase_block(uint64_t block, uint64_t sequence);
    void grow();
    const Slot* find_slot(uint64_t block) const;
    const ZeroRange* covering(uint64_t block) const;

    std::vector<Slot> slots_;  // A power of two, at most three quarters full.
    size_t used_ = 0;
    std::map<uint64_t, ZeroRange> zeros_;  // By first block.
};

}  // namespace gemel::blockdev
