// SPDX-License-Identifier: Apache-2.0
//
// Resync: brings one member up to date while the volume serves. The design's section 8;
// mirror/README.md has the arguments.
//
//   1. the member joins the chain: from here on it gets every new write, in its log
//   2. its superblock says so, and that it is between two states from now on
//   3. the walk: pages that had a write on either side since the last one in common; checksums are
//      compared, and only blocks that differ are copied
//   4. acknowledgements wait for it, everything is flushed, the configuration lists it as in sync
//
// It is interrupted at any moment by whatever befalls the member, and goes on later from what the
// member's superblock says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/background_pace.h"
#include "mirror/configurator.h"
#include "mirror/healer.h"
#include "mirror/member_set.h"
#include "mirror/range_lock.h"
#include "mirror/resync_plan.h"
#include "mirror/resync_report.h"
#include "mirror/sequencer.h"

namespace gemel::mirror {

class Resync {
public:
    Resync(Env& env, MemberSet& members, RangeLock& locks, Sequencer& sequencer,
           Configurator& configurator, Healer& healer, BackgroundPace& pace,
           std::vector<blockdev::EpochRecord> history);

    // The member is behind or adding, its log is home; `base` is what it has. Ends with it in sync,
    // or with an error: what failed on the member itself (then it is to be given up), or
    // Errc::closed after stop(). Errc::corrupt: its own tables are damaged; it can only start from
    // nothing.
    Task<Status> run(size_t index, ResyncBase base);
    void stop();

    // Of the one that is running, or ran last.
    ResyncReport report() const;
    // The volume's history up to now.
    History history() const;

    // Recorded together: what a crash costs at most.
    static constexpr size_t kWindowPages = 128;

private:
    struct Walk {
        size_t index = 0;
        ResyncBase base;
        std::vector<uint64_t> forced;  // Pages whose checksums on the member prove nothing.
        std::vector<uint64_t> before_cursor;
        std::vector<uint64_t> after_cursor;
    };

    blockdev::Member& member() const { return members_.member(walk_.index); }
    bool lost() const;
    Task<Status> find_own_pages();
    void join();
    Task<Status> record_beginning();
    Task<Status> find_pages_of_volume();
    Task<Status> newer_on_volume(uint64_t after, uint64_t first, uint64_t end,
                                 std::vector<uint64_t>& pages);
    Task<Status> walk_pages();
    Task<Status> walk_window(std::span<const uint64_t> pages);
    Task<void> walk_page(uint64_t page);
    Task<void> rest(uint64_t work_ns);
    Task<Status> bring_page(uint64_t page);
    Task<Status> bring_piece(uint64_t first_block, uint64_t count, bool forced);
    Task<Status> copy_run(uint64_t first_block, std::span<const uint64_t> checksums);
    Task<Status> copy_one(uint64_t block, uint64_t checksum);
    Task<Status> values_of_volume(uint64_t page, blockdev::PageValues& out);
    Task<Status> read_from_volume(uint64_t first_block, uint64_t count, std::byte* out);
    Task<Status> admit();

    Env& env_;
    MemberSet& members_;
    RangeLock& locks_;
    Sequencer& sequencer_;
    Configurator& configurator_;
    Healer& healer_;
    BackgroundPace& pace_;
    std::vector<blockdev::EpochRecord> history_;
    Walk walk_;
    Status outcome_;  // The first failure of the pages under way.
    size_t pages_in_flight_ = 0;
    Event progress_;
    ResyncReport report_;
    uint64_t began_ns_ = 0;
    size_t next_source_ = 0;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
