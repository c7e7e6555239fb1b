// SPDX-License-Identifier: Apache-2.0
//
// Scrub: reads everything on every member, finds what is damaged before it is needed, and heals it.
//
// A pass goes over the pages of 512 blocks: the tables on disk, the members' tables against one
// another, then the data; at its end superblocks and logs. It goes on where it was after a restart.
// A pass that somebody asked for runs as fast as the members allow while they are idle; one that
// the schedule began spreads itself over half the interval. Either leaves nine tenths of the time
// to clients as long as there are any.
#pragma once

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/healer.h"
#include "mirror/health_keeper.h"
#include "mirror/member_set.h"
#include "mirror/range_lock.h"

namespace gemel::mirror {

struct ScrubReport {
    bool running = false;
    uint64_t next_page = 0;
    uint64_t pages = 0;
    uint64_t started_s = 0;
    uint64_t finished_s = 0;
    uint64_t passes = 0;       // That came to their end.
    uint64_t remaining_s = 0;  // An estimate, while one is running.
    // Of the pass that is running, or was the last in this process.
    uint64_t blocks_checked = 0;
    uint64_t blocks_healed = 0;
    uint64_t tables_repaired = 0;
    uint64_t logs_healed = 0;
};

// How long to rest after work that took `work_ns`. Pure, for its own test.
uint64_t scrub_rest_ns(uint64_t work_ns, bool clients_active, bool wanted, uint64_t interval_ns,
                       uint64_t pages);

class Scrub {
public:
    struct Options {
        uint64_t interval_s = 7 * 86'400;  // Between the beginnings of two passes; 0: never.
        uint64_t created_s = 0;            // When the volume was; set by it.
    };
    Scrub(Env& env, MemberSet& members, RangeLock& locks, Healer& healer, HealthKeeper& health,
          Options options);

    // A pass from the beginning, unless one is under way: then that one, at full speed.
    void start();
    ScrubReport report() const;
    // Call for each request of a client.
    void note_client() { ++client_requests_; }

    // The background work, until stop().
    Task<void> run();
    void stop();

    static constexpr uint64_t kChunkBlocks = 256;

private:
    Task<bool> wait_for_pass();
    Task<void> make_pass();
    Task<void> scrub_page(uint64_t page);
    Task<void> scrub_tables(uint64_t page);
    Task<void> compare_tables(uint64_t page);
    Task<void> scrub_data(uint64_t first_block, uint64_t count);
    Task<void> read_copy(size_t member, uint64_t first_block, uint64_t count);
    Task<void> scrub_rest_of_members();
    Task<void> rest(uint64_t work_ns, uint64_t requests_before);
    uint64_t sum_of(uint64_t blockdev::MemberCounters::* counter) const;

    Env& env_;
    MemberSet& members_;
    RangeLock& locks_;
    Healer& healer_;
    HealthKeeper& health_;
    Options options_;
    uint64_t pages_;
    uint64_t client_requests_ = 0;
    uint64_t pass_began_ns_ = 0;
    uint64_t pass_began_page_ = 0;
    uint64_t blocks_checked_ = 0;
    uint64_t healed_before_ = 0;
    uint64_t repaired_before_ = 0;
    uint64_t logs_healed_before_ = 0;
    bool wanted_ = false;
    bool running_ = false;
    bool stopping_ = false;
    Event wake_;
};

}  // namespace gemel::mirror
