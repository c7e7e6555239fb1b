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
#include <optional>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "blockdev/buffer_pool.h"
#include "blockdev/disk.h"
#include "blockdev/env.h"
#include "blockdev/layout.h"
#include "blockdev/table_source.h"

namespace gemel::blockdev {

struct PageName {
    uint64_t sequence = 0;
    PageState state = PageState::never_written;
    unsigned slot = 0;
    uint64_t checksum = 0;

    static PageName decode(const IndexEntry& entry);
    IndexEntry encode() const;
};

// What an index page has in its `checksum`.
uint64_t index_page_checksum(const IndexPage& page, uint64_t seed);
// The newest sequence number that an index page names.
uint64_t newest_sequence(const IndexPage& page);

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
    // What `page` holds was still right at `sequence`.
    Task<Status> raise(uint64_t page, uint64_t sequence);
    // Writes all changed index pages, level 1, then level 2. Not durable yet.
    Task<Status> write_index();
    std::span<const IndexEntry> roots() const { return roots_; }
    // The superblock naming roots() is durable.
    void commit_roots();
    // Every page was never written from now on; what the durable superblock names stays.
    void forget_all();
    // Those of the pages that are named with a number above `after`, ascending.
    Task<Result<std::vector<uint64_t>>> newer_pages(uint64_t after, uint64_t first_page,
                                                    uint64_t end_page);
    // True if write_index() has something to write.
    bool has_changes() const { return !levels_[1].dirty.empty() || !levels_[2].dirty.empty(); }

    // --- For repair; as with the checkpoint, by one caller at a time.
    // What keeps the checksums of a page from being read. Device errors count.
    Task<TableFault> probe(uint64_t page);
    // Whether `page`, as found at `offset`, is an undamaged index page of this place.
    bool is_whole(const IndexPage& page, unsigned level, uint64_t number, uint64_t offset) const;
    // What a checksum page with these values has for its checksum in a slot.
    uint64_t page_checksum(uint64_t page, unsigned slot, const ChecksumPage& values) const;
    // Rewrites a damaged index page if these entries are what its name says, where it lies, or if
    // it does not stay there in the other slot with the next write_index(); else false.
    Task<Result<bool>> restore_index(unsigned level, uint64_t number, const IndexPage& entries);
    // Puts an index page with these entries in place of the damaged one: into the other slot, with
    // the next write_index().
    void replace_index(unsigned level, uint64_t number, const IndexPage& entries);
    // Rewrites a checksum page where it lies if these values are what its name says; else false.
    Task<Result<bool>> restore_page(uint64_t page, const ChecksumPage& values);
    // The name of an index page of level 2, as the superblock has it.
    PageName root_name(uint64_t number) const { return PageName::decode(roots_[number]); }
    // The page whose table could not be read last, for whoever repairs it; forgets it.
    std::optional<uint64_t> take_suspect() { return std::exchange(suspect_, std::nullopt); }

    // --- For the scrub: looks at what is on the disk, whatever is in memory: at the checksum page
    // and, with the first page that an index page names, at that one, too. A structure that is not
    // what its name says is rewritten if its content is in memory, else TableFault says which it
    // is.
    struct Inspection {
        TableFault fault = TableFault::none;
        uint64_t rewritten = 0;
    };
    Task<Result<Inspection>> inspect(uint64_t page);

    uint64_t memory_bytes() const;

private:
    struct CachedPage {
        uint64_t number = 0;
        bool used = false;  // Since it was last passed over.
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
    Task<Result<const ChecksumPage*>> try_load_page(uint64_t page);
    BufferPool::Buffer make_index(unsigned level, uint64_t number, const IndexPage& entries);
    Task<Status> write_and_read_back(uint64_t offset, std::span<const std::byte> bytes);
    Task<bool> index_is_on_disk(uint64_t offset, uint64_t checksum);
    Task<bool> page_is_on_disk(uint64_t page);
    const ChecksumPage* cached(uint64_t page);
    const ChecksumPage* cache(uint64_t page, const ChecksumPage& values);

    Disk& disk_;
    const Layout& layout_;
    Uuid member_;
    size_t cache_limit_;  // In pages.
    BufferPool index_pool_{SIZE_MAX};
    std::vector<IndexEntry> roots_;
    IndexLevel levels_[3];          // Indexed by level; 0 is unused.
    std::list<CachedPage> recent_;  // Last come or passed over first: the last one goes next.
    std::unordered_map<uint64_t, std::list<CachedPage>::iterator> cached_;
    std::unordered_set<uint64_t> moved_pages_;
    std::unordered_set<uint64_t> rewriting_;  // Pages whose named slot is being written.
    Event rewritten_;
    std::optional<uint64_t> suspect_;
};

}  // namespace gemel::blockdev
