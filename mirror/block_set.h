// SPDX-License-Identifier: Apache-2.0
//
// BlockSet: a set of block numbers, kept as ranges.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace gemel::mirror {

struct BlockRange {
    uint64_t first = 0;
    uint64_t count = 0;
    bool operator==(const BlockRange&) const = default;
};

class BlockSet {
public:
    bool empty() const { return ranges_.empty(); }
    uint64_t size() const { return size_; }
    bool contains(uint64_t block) const;
    void add(BlockRange range);
    void remove(BlockRange range);
    // Ascending, not touching each other.
    std::vector<BlockRange> ranges() const;

private:
    std::map<uint64_t, uint64_t> ranges_;  // First to end.
    uint64_t size_ = 0;
};

}  // namespace gemel::mirror
