// SPDX-License-Identifier: Apache-2.0
//
// Checkpoint: moves what a part of the log holds to its final place. The order of its steps is what
// keeps every crash harmless:
//   1. home: zeroed ranges first, then blocks in address order    the log still has all of it
//   2. flush
//   3. changed checksum pages and index pages, into their other slots    nothing names them yet
//   4. flush
//   5. (by the caller) both superblocks with the new tail and roots, each flushed; only then is the
//      ring reused, and what the old roots name overwritten
#pragma once

#include "blockdev/checksum_table.h"
#include "blockdev/disk.h"
#include "blockdev/env.h"
#include "blockdev/layout.h"
#include "blockdev/overlay.h"

namespace gemel::blockdev {

class Checkpoint {
public:
    // At most `window` (not 0) requests are in flight. `slice` holds every write of the part of the
    // log to be moved; its batches stay in memory.
    Checkpoint(Env& env, Disk& disk, const Layout& layout, ChecksumTable& table,
               const ecc::BlockHasher& hasher, const Overlay& slice, size_t window);

    // Steps 1 to 4. After a failure it may be repeated, with this slice or a longer one.
    Task<Status> run();

private:
    static constexpr size_t kMaximumSegments = 64;
    static constexpr uint64_t kMaximumWrite = kMiB;

    struct HomeWrite;
    struct PageWork {
        uint64_t page = 0;
        size_t first = 0;  // Of its blocks in blocks_.
        size_t count = 0;
    };

    Task<Status> clear_home();
    Task<Status> write_home();
    Task<Status> write_pages();
    std::vector<PageWork> plan_pages() const;
    Task<void> write_page(PageWork work);
    Task<Status> change_page(PageWork work);
    bool fill(HomeWrite& write, size_t& next);
    void finished(HomeWrite& write);

    Env& env_;
    Disk& disk_;
    const Layout& layout_;
    ChecksumTable& table_;
    const ecc::BlockHasher& hasher_;
    const Overlay& slice_;
    const size_t window_;  // Requests in flight.
    std::vector<Overlay::Block> blocks_;
    std::vector<HomeWrite*> idle_writes_;
    size_t in_flight_ = 0;
    Status outcome_;  // The first failure.
    Event progress_;
};

}  // namespace gemel::blockdev
