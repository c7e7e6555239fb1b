// SPDX-License-Identifier: Apache-2.0
#include "mirror/block_set.h"

#include <algorithm>
#include <iterator>

namespace gemel::mirror {

bool BlockSet::contains(uint64_t block) const {
    const auto after = ranges_.upper_bound(block);
    return after != ranges_.begin() && std::prev(after)->second > block;
}

void BlockSet::add(BlockRange range) {
    if (range.count == 0) return;
    remove(range);
    uint64_t first = range.first;
    uint64_t end = range.first + range.count;
    size_ += range.count;
    // Neighbours that it touches become one with it.
    auto next = ranges_.lower_bound(first);
    if (next != ranges_.end() && next->first == end) {
        end = next->second;
        next = ranges_.erase(next);
    }
    if (next != ranges_.begin() && std::prev(next)->second == first) {
        std::prev(next)->second = end;
        return;
    }
    ranges_.emplace_hint(next, first, end);
}

void BlockSet::remove(BlockRange range) {
    const uint64_t end = range.first + range.count;
    auto at = ranges_.upper_bound(range.first);
    if (at != ranges_.begin() && std::prev(at)->second > range.first) --at;
    while (at != ranges_.end() && at->first < end) {
        const auto [from, to] = *at;
        at = ranges_.erase(at);
        size_ -= std::min(to, end) - std::max(from, range.first);
        if (from < range.first) ranges_.emplace(from, range.first);
        if (to > end) ranges_.emplace(end, to);
    }
}

std::vector<BlockRange> BlockSet::ranges() const {
    std::vector<BlockRange> found;
    found.reserve(ranges_.size());
    for (const auto& [first, end] : ranges_) found.push_back({first, end - first});
    return found;
}

}  // namespace gemel::mirror
