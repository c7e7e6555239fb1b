// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a simulated disk, in two states: what a read finds now, and what is left if the
// power fails now. Between the two lie the changes that no sync has covered yet. Sparse: only pages
// ever written take memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "blockdev/disk.h"
#include "tests/sim/page.h"
#include "tests/sim/random.h"

namespace gemel::sim {

// The space that files on one file system share.
struct FileSystem {
    uint64_t capacity_pages = UINT64_MAX;
    uint64_t used_pages = 0;
    uint64_t reserved_pages = 0;  // Promised to writes in flight.

    uint64_t free_pages() const {
        const uint64_t taken = used_pages + reserved_pages;
        return capacity_pages > taken ? capacity_pages - taken : 0;
    }
};

// What one write, punch or zero does. Sectors are counted from the change's first page.
struct Change {
    IoKind kind = IoKind::write;
    uint64_t first_page = 0;
    uint64_t page_count = 0;
    std::vector<PageRef> pages;  // Of a write only.
    uint64_t order = 0;          // Of completion on this platter.
    uint64_t landed_begin = 0;   // The sectors that have reached the disk.
    uint64_t landed_end = 0;
    bool lasting = true;  // False: a failed sync dropped it; no later one makes it durable.

    uint64_t sectors() const { return page_count * kSectorsPerPage; }
};

// How a power loss chooses among the changes that nothing has made durable.
enum class LossStyle : uint8_t {
    lose_all,
    keep_all,
    keep_some,    // Each on its own.
    keep_oldest,  // Up to one of them, in order of completion.
    keep_newest,  // The other way round: what a reordering cache may do.
    lose_one,
    keep_one,
};
inline constexpr uint64_t kLossStyles = 7;

class Platter {
public:
    Platter(uint64_t size, FileSystem* file_system) : size_(size), file_system_(file_system) {}
    Platter(const Platter&) = delete;
    Platter& operator=(const Platter&) = delete;

    uint64_t size() const { return size_; }
    void resize(uint64_t size);

    // What a read finds now. Multiples of the sector.
    void read(uint64_t offset, std::span<std::byte> out) const;
    // Overwrites both states: damage from outside.
    void tamper(uint64_t offset, std::span<const std::byte> data);
    // What a read finds now, to come back to: both states are then as they were, durable.
    using Image = std::vector<std::pair<uint64_t, PageRef>>;
    Image image() const;
    void restore(const Image& image);
    uint64_t holes(uint64_t first_page, uint64_t page_count) const;
    bool all_holes() const;

    // Makes the given sectors of `change` visible.
    void land(Change& change, uint64_t begin, uint64_t end);
    // `change` has ended; what has landed of it waits for a sync.
    void completed(Change change);
    // Everything completed so far, to be named to synced() or sync_failed() later.
    uint64_t sync_point() const { return completions_; }
    void synced(uint64_t sync_point);
    void sync_failed(uint64_t sync_point, Random& random);
    uint64_t unsynced() const { return unsynced_.size(); }

    // Every change not covered by a sync, and each of those in flight, stays, goes, or is torn.
    void lose_power(std::vector<Change> in_flight, LossStyle style, Random& random);

private:
    static constexpr uint64_t kLeafPages = 512;
    struct Cell {
        PageRef current;
        PageRef durable;
    };
    using Leaf = std::array<Cell, kLeafPages>;

    Leaf* find_leaf(uint64_t number) const;
    Cell& cell(uint64_t page);
    void set_current(Cell& cell, PageRef page);
    template <typename F>
    void for_each_cell(const Change& change, uint64_t begin, uint64_t end, F&& function);
    void apply(const Change& change, uint64_t begin, uint64_t end, bool to_durable);
    void make_durable(const Change& change);
    void revert(const Change& change);
    void keep_torn(const Change& change, Random& random);

    uint64_t size_;
    FileSystem* file_system_;
    std::map<uint64_t, std::unique_ptr<Leaf>> leaves_;
    mutable uint64_t cached_number_ = UINT64_MAX;
    mutable Leaf* cached_leaf_ = nullptr;
    std::deque<Change> unsynced_;
    std::vector<Change> dropped_;  // Readable, and gone after a power loss.
    uint64_t completions_ = 0;
};

}  // namespace gemel::sim
