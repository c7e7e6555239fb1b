// SPDX-License-Identifier: Apache-2.0
//
// CopiedBlocks: checksums of blocks that were copied to a member's home and are not named by its
// table yet, with the pages that were looked at. A write that comes later replaces the copy.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <map>
#include <span>

#include "blockdev/batch.h"
#include "blockdev/disk_format.h"

namespace gemel::blockdev {

class CopiedBlocks {
public:
    struct Page {
        std::array<uint64_t, kPageBlocks> checksums{};
        std::bitset<kPageBlocks> copied;
        uint64_t sequence = 0;  // Of the page in the volume; 0: it has not been finished.
    };

    bool empty() const { return pages_.empty(); }
    void clear() { pages_.clear(); }
    void copy(uint64_t first_block, std::span<const uint64_t> checksums);
    void end_page(uint64_t page, uint64_t sequence);
    // The blocks that `batch` writes are the log's from here on.
    void overwrite(const Batch& batch);

    // In ascending order.
    const std::map<uint64_t, Page>& pages() const { return pages_; }
    void erase(uint64_t page) { pages_.erase(page); }

private:
    std::map<uint64_t, Page> pages_;
};

}  // namespace gemel::blockdev
