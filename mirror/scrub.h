// SPDX-License-Identifier: Apache-2.0
//
// Scrub: reads everything on every member, finds what is damaged before it is needed, and heals it.
//
// A pass goes over the pages of 512 blocks: the tables on disk, the members' tables against one
// another, then the data; at its end superblocks and logs. It goes on where it was after a restart.
// While no client asks for anything, several large reads are in flight; a pass that somebody asked
// for then runs as fast as the members allow, one that the schedule began spreads itself over half
// the interval. As long as there are clients, either goes as fast as they bear: see BackgroundPace.
#pragma once

#include <deque>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/background_pace.h"
#include "mirror/healer.h"
#include "mirror/health_keeper.h"
#include "mirror/member_set.h"
#include "mirror/range_lock.h"
#include "mirror/scrub_report.h"

namespace gemel::mirror {

// How long to rest after a page, so that a pass of `pages` takes about half of the interval. Pure.
uint64_t scrub_rest_for_schedule_ns(uint64_t interval_ns, uint64_t pages);

class Scrub {
public:
    struct Options {
        uint64_t interval_s = 7 * 86'400;  // Between the beginnings of two passes; 0: never.
        uint64_t created_s = 0;            // When the volume was; set by it.
    };
    Scrub(Env& env, MemberSet& members, RangeLock& locks, Healer& healer, HealthKeeper& health,
          BackgroundPace& pace, Options options);

    // A pass from the beginning, unless one is under way: then that one, at full speed.
    void start();
    ScrubReport report() const;

    // The background work, until stop().
    Task<void> run();
    void stop();

    // The largest piece.
    static constexpr uint64_t kPieceBlocks = 256;

private:
    Task<bool> wait_for_pass();
    void begin_pass();
    Task<void> make_pass();
    void end_pass();
    Task<void> scrub_page(uint64_t page, Scope& reads);
    Task<void> go_ahead_with_tables(uint64_t first_page);
    Task<void> scrub_tables(uint64_t page);
    Task<void> inspect_table(size_t member, uint64_t page, std::vector<uint8_t>& whole);
    Task<void> compare_tables(uint64_t page);
    Task<void> scrub_data(uint64_t page, uint64_t first_block, uint64_t count);
    Task<void> read_copy(size_t member, uint64_t first_block, uint64_t count);
    Task<void> clear_zeros(size_t member, uint64_t first_block, uint64_t count);
    Task<void> scrub_rest_of_members();
    Task<void> rest_until(uint64_t time_ns);
    Task<void> wait_for_pieces(size_t most);
    void part_done(uint64_t page);

    struct Counts {
        uint64_t blocks_healed = 0, tables_repaired = 0, logs_healed = 0;
    };
    Counts counts_so_far() const;

    Env& env_;
    MemberSet& members_;
    RangeLock& locks_;
    Healer& healer_;
    HealthKeeper& health_;
    BackgroundPace& pace_;
    Options options_;
    uint64_t pages_;
    uint64_t pass_began_ns_ = 0;
    uint64_t pass_began_page_ = 0;
    uint64_t saved_ns_ = 0;
    uint64_t blocks_checked_ = 0;
    Counts counts_before_;
    // From the first page that is not done on: how many parts of each are not.
    std::deque<uint32_t> parts_left_;
    size_t pieces_in_flight_ = 0;
    uint64_t page_begun_ = 0;    // Whose data is being read.
    uint64_t tables_until_ = 0;  // The tables of all pages before this one have been looked at.
    std::vector<AlignedBytes> buffers_;  // Free ones, for large pieces.
    bool wanted_ = false;
    bool running_ = false;
    bool stopping_ = false;
    Event wake_;
    Event progress_;
};

}  // namespace gemel::mirror
