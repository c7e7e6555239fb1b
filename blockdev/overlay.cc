// SPDX-License-Identifier: Apache-2.0
#include "blockdev/overlay.h"

#include <algorithm>

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

constexpr size_t kInitialSlots = 1024;

// Fibonacci hashing (Knuth, TAOCP 6.4): spreads runs of block numbers over the table.
uint64_t spread(uint64_t block) { return block * 0x9e3779b97f4a7c15ull; }

}  // namespace

size_t Overlay::home_slot(uint64_t block) const {
    return static_cast<size_t>(spread(block) >> 20) & (slots_.size() - 1);
}

const Overlay::Slot* Overlay::find_slot(uint64_t block) const {
    if (used_ == 0) return nullptr;
    for (size_t i = home_slot(block);; i = (i + 1) & (slots_.size() - 1)) {
        const Slot& slot = slots_[i];
        if (slot.version.sequence == 0) return nullptr;
        if (slot.block == block) return &slot;
    }
}

const ZeroRange* Overlay::covering(uint64_t block) const {
    if (zeros_.empty()) return nullptr;
    auto after = zeros_.upper_bound(block);
    if (after == zeros_.begin()) return nullptr;
    const ZeroRange& range = std::prev(after)->second;
    return block < range.end_block ? &range : nullptr;
}

std::optional<BlockVersion> Overlay::find(uint64_t block) const {
    const Slot* slot = find_slot(block);
    const ZeroRange* zero = covering(block);
    if (slot != nullptr && (zero == nullptr || slot->version.sequence > zero->sequence)) {
        return slot->version;
    }
    if (zero != nullptr) return BlockVersion{zero->sequence, nullptr, 0};
    return std::nullopt;
}

bool Overlay::misses(uint64_t first_block, uint64_t block_count) const {
    if (empty()) return true;
    for (uint64_t i = 0; i < block_count; ++i) {
        if (find_slot(first_block + i) != nullptr || covering(first_block + i) != nullptr) {
            return false;
        }
    }
    return true;
}

void Overlay::insert(const Batch& batch) {
    uint64_t sequence = batch.first_sequence();
    uint32_t payload = 0;
    for (const LogEntry& entry : batch.entries()) {
        const auto kind = static_cast<EntryKind>(entry.kind.get());
        const uint64_t first = entry.first_block;
        if (kind == EntryKind::write) {
            for (uint32_t i = 0; i < entry.block_count; ++i, ++payload) {
                insert_block(first + i,
                             {sequence, batch.payload(payload), batch.payload_checksum(payload)});
            }
        } else if (kind == EntryKind::trim || kind == EntryKind::write_zeroes) {
            insert_zero(
                {first, first + entry.block_count, sequence, kind == EntryKind::write_zeroes});
        }
        ++sequence;
    }
}

void Overlay::insert_block(uint64_t block, BlockVersion version) {
    if (slots_.empty() || (used_ + 1) * 4 > slots_.size() * 3) grow();
    for (size_t i = home_slot(block);; i = (i + 1) & (slots_.size() - 1)) {
        Slot& slot = slots_[i];
        if (slot.version.sequence != 0 && slot.block != block) continue;
        CHECK(slot.version.sequence <= version.sequence);
        if (slot.version.sequence == 0) ++used_;
        slot = {block, version};
        return;
    }
}

// Cuts what the new range covers out of older ones.
void Overlay::insert_zero(ZeroRange range) {
    auto it = zeros_.upper_bound(range.first_block);
    if (it != zeros_.begin()) --it;
    while (it != zeros_.end() && it->second.first_block < range.end_block) {
        const ZeroRange old = it->second;
        if (old.end_block <= range.first_block) {
            ++it;
            continue;
        }
        it = zeros_.erase(it);
        if (old.first_block < range.first_block) {
            ZeroRange left = old;
            left.end_block = range.first_block;
            zeros_.emplace(left.first_block, left);
        }
        if (old.end_block > range.end_block) {
            ZeroRange right = old;
            right.first_block = range.end_block;
            it = zeros_.emplace(right.first_block, right).first;
        }
    }
    zeros_.emplace(range.first_block, range);
}

void Overlay::erase_block(uint64_t block, uint64_t sequence) {
    const Slot* found = find_slot(block);
    if (found == nullptr || found->version.sequence > sequence) return;
    // Backward-shift deletion (Knuth, TAOCP 6.4, algorithm R): no tombstones.
    auto hole = static_cast<size_t>(found - slots_.data());
    const size_t mask = slots_.size() - 1;
    for (size_t i = (hole + 1) & mask; slots_[i].version.sequence != 0; i = (i + 1) & mask) {
        const size_t distance_home = (i - home_slot(slots_[i].block)) & mask;
        const size_t distance_hole = (i - hole) & mask;
        if (distance_home < distance_hole) continue;
        slots_[hole] = slots_[i];
        hole = i;
    }
    slots_[hole] = Slot{};
    --used_;
}

void Overlay::remove(const Overlay& home, uint64_t sequence) {
    for (const Slot& slot : home.slots_) {
        if (slot.version.sequence != 0) erase_block(slot.block, sequence);
    }
    if (home.zeros_.empty()) return;
    for (auto it = zeros_.begin(); it != zeros_.end();) {
        it = it->second.sequence <= sequence ? zeros_.erase(it) : std::next(it);
    }
}

void Overlay::grow() {
    std::vector<Slot> old(slots_.empty() ? kInitialSlots : slots_.size() * 2);
    old.swap(slots_);
    used_ = 0;
    for (const Slot& slot : old) {
        if (slot.version.sequence != 0) insert_block(slot.block, slot.version);
    }
}

std::vector<Overlay::Block> Overlay::sorted_blocks() const {
    std::vector<Block> blocks;
    blocks.reserve(used_);
    for (const Slot& slot : slots_) {
        if (slot.version.sequence == 0) continue;
        const ZeroRange* zero = covering(slot.block);
        if (zero != nullptr && zero->sequence > slot.version.sequence) continue;
        blocks.push_back({slot.block, slot.version});
    }
    std::sort(blocks.begin(), blocks.end(),
              [](const Block& a, const Block& b) { return a.number < b.number; });
    return blocks;
}

std::vector<ZeroRange> Overlay::zero_ranges() const {
    std::vector<ZeroRange> ranges;
    for (const auto& [first, range] : zeros_) ranges.push_back(range);
    return ranges;
}

std::optional<ZeroRange> Overlay::next_zero_range(uint64_t block) const {
    if (const ZeroRange* zero = covering(block); zero != nullptr) return *zero;
    auto after = zeros_.upper_bound(block);
    if (after == zeros_.end()) return std::nullopt;
    return after->second;
}

}  // namespace gemel::blockdev
