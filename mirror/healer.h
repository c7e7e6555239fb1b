// SPDX-License-Identifier: Apache-2.0
//
// Healer: makes bad copies good again, in the background, from the members that have a good one.
//
// Readers tell it which copy of which block they had to mask; it looks again, alone with the block,
// so that a write that comes in between wins. A block of which no member has a good copy is known
// as unrecoverable until it is overwritten, or turns out to be readable after all.
#pragma once

#include <deque>
#include <map>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/health_keeper.h"
#include "mirror/member_set.h"
#include "mirror/range_lock.h"

namespace gemel::mirror {

class Healer {
public:
    Healer(Env& env, MemberSet& members, RangeLock& locks, HealthKeeper& health);

    // The copy of `block` on a member could not be read, or did not prove itself. Never waits. More
    // than kSuspectsMax are not remembered: a later read, or the scrub, finds them again.
    void suspect(size_t member, uint64_t block);
    // No member has a good copy.
    void lose(uint64_t block);
    // The blocks were overwritten, or could be read after all.
    void forget(uint64_t first_block, uint64_t count) {
        if (!health_.lost().empty()) forget_lost({first_block, count});
    }

    // Good content of a block from anybody but `except`: from a member in sync, else from any other
    // one that has what the volume's checksum demands.
    Task<Status> fetch(size_t except, uint64_t block, std::byte* out);

    // Looks at one copy now, and heals it. The caller holds no lock on the block.
    Task<void> heal(size_t member, uint64_t block);
    // Repairs the table of a page on every member where it is damaged. False if it is still on one.
    Task<bool> repair_tables(uint64_t page);

    // The background work, until stop().
    Task<void> run();
    void stop();
    bool idle() const { return suspects_.empty() && healing_ == 0; }
    // Until there is nothing left to heal, or the deadline. False if that came first.
    Task<bool> drain(uint64_t deadline_ns);

    static constexpr size_t kSuspectsMax = 1 << 18;
    static constexpr size_t kConcurrency = 8;

private:
    // A block that was bad lately, and what was found there as long as nothing explains it.
    struct Recent {
        size_t member = 0;
        uint64_t block = 0;
        AlignedBytes unexplained;
    };
    Task<void> heal_suspect(uint64_t block, uint32_t members);
    Task<Status> fetch_from_outside(uint64_t block, std::byte* out);
    Task<Result<uint64_t>> current_checksum(uint64_t block);
    Task<DamageCause> cause_of(size_t member, uint64_t block, const std::byte* good);
    Task<bool> belongs_elsewhere(size_t member, uint64_t block, const std::byte* content);
    void keep_unexplained(size_t member, uint64_t block, AlignedBytes content);
    Task<void> explain_others_by(size_t member, uint64_t block);
    void forget_lost(BlockRange range);

    Env& env_;
    MemberSet& members_;
    RangeLock& locks_;
    HealthKeeper& health_;
    std::map<uint64_t, uint32_t> suspects_;  // Block to a bit per member.
    std::deque<Recent> recent_;
    size_t healing_ = 0;
    bool stopping_ = false;
    Event changed_;
};

}  // namespace gemel::mirror
