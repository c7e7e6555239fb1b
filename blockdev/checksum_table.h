// SPDX-License-Identifier: Apache-2.0
//
// ChecksumTable: the checksums of every block that is home on one member, and the index that names
// the valid slot of each of their pages up to the superblock's roots.
//
// Invariants: memory holds the newest state; what the durable superblock names stays untouched on
// disk until the next superblock is durable (commit_roots()). A page changed since then was written
// to its other slot, and is written there again if the checkpoint has to be repeated.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "blockdev/buffer_pool.h"
#include "blockdev/disk.h"
#include "blockdev/env.h"
#include "blockdev/layout.h"

namespace gemel::blockdev {

struct PageName {
    uint64_t sequence = 0;
    PageState state = PageState::never_written;
    unsigned slot = 0;
    uint64_t checksum = 0;

    static PageName decode(const IndexEntry& entry);
    IndexEntry encode() const;
};

class ChecksumTable {
public:
    ChecksumTable(Env& env, Disk& disk, const Layout& layout, Uuid member, size_t cache_bytes);

    // At open: what the superblock names.
    void load_roots(std::span<const IndexEntry> roots);

    // Copies the checksums of blocks first_block.. into `out`; 0 means the block is zero. Fails
    // with corrupt if a page or its index is not the one that is named.
    Task<Status> lookup(uint64_t first_block, std::span<uint64_t> out);
    // The same if everything is in memory; false (and `out` undefined) if not.
    bool try_lookup(uint64_t first_block, std::span<uint64_t> out);
    // The name of a checksum page.
    Task<Result<PageName>> page_name(uint64_t page);

    // The rest is for the checkpoint alone, one page by one caller at a time.
    // Makes `page` hold `values` (at `sequence`) in its other slot. Not durable yet.
    Task<Status> write_page(uint64_t page, const ChecksumPage& values, uint64_t sequence);
    // Marks the whole page zero; nothing is written for it.
    Task<Status> mark_zero(uint64_t page, uint64_t sequence);
    // Writes all changed index pages, level 1, then level 2. Not durable yet.
    Task<Status> write_index();
    std::span<const IndexEntry> roots() const { return roots_; }
    // The superblock naming roots() is durable.
    void commit_roots();

    uint64_t memory_bytes() const;

private:
    struct CachedPage {
        uint64_t number = 0;
        ChecksumPage values;
    };
    struct IndexLevel {
        std::vector<BufferPool::Buffer> pages;  // Null: not loaded.
        std::unordered_set<uint64_t> moved;     // To the other slot since the last commit.
        std::vector<uint64_t> dirty;            // Changed in memory, not yet written.
        std::unordered_set<uint64_t> dirty_set;
    };

    IndexPage& index_page(unsigned level, uint64_t number);
    IndexEntry& parent_entry(unsigned level, uint64_t number);
    uint64_t index_offset(unsigned level, uint64_t number, unsigned slot) const;
    Task<Status> load_index(unsigned level, uint64_t number);
    Task<Status> load_chain(uint64_t page);
    const IndexEntry* loaded_entry(uint64_t page);
    void set_entry(uint64_t page, const PageName& name);
    void mark_dirty(unsigned level, uint64_t number);
    Task<Status> write_level(unsigned level);
    Task<Status> write_index_page(unsigned level, uint64_t number);
    // The page's values: from the cache, or read and checked. Null is never returned on success.
    Task<Result<const ChecksumPage*>> load_page(uint64_t page);
    const ChecksumPage* cached(uint64_t page);
    const ChecksumPage* cache(uint64_t page, const ChecksumPage& values);

    Disk& disk_;
    const Layout& layout_;
    Uuid member_;
    size_t cache_limit_;  // In pages.
    BufferPool index_pool_{SIZE_MAX};
    std::vector<IndexEntry> roots_;
    IndexLevel levels_[3];          // Indexed by level; 0 is unused.
    std::list<CachedPage> recent_;  // Most recently used first.
    std::unordered_map<uint64_t, std::list<CachedPage>::iterator> cached_;
    std::unordered_set<uint64_t> moved_pages_;
    std::unordered_set<uint64_t> rewriting_;  // Pages whose named slot is being written.
    Event rewritten_;
};

}  // namespace gemel::blockdev
