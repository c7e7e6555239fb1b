// SPDX-License-Identifier: Apache-2.0
//
// Rejoiner: brings members back, without anybody's help. One that has failed is released once
// nothing of it is left with its device; one that is missing is looked for again and again, less
// and less often; one that is there is brought up to date, one at a time, and is in sync again.
//
//   failed -> missing -> behind -> resyncing -> in-sync
//
// What an operator has taken out stays out, and what holds a history of its own waits for him.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "mirror/health_keeper.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"
#include "mirror/reopening.h"
#include "mirror/resync.h"

namespace gemel::mirror {

class Rejoiner {
public:
    struct Options {
        Uuid volume;
        uint64_t cache_bytes = 0;  // For each member.
    };
    Rejoiner(Env& env, MemberSet& members, Resync& resync, HealthKeeper& health,
             blockdev::BufferPool& pool, Options options, FailureSink on_failure);

    // The background work, until stop().
    Task<void> run();
    void stop();
    // Whether nothing of it is left with any device; and what is left for good with one that hangs.
    bool quiet() const;
    void let_go();
    // Something may have changed for the better: looks for this member at once.
    void hurry(size_t index);
    // Whether it is being opened, or was and nobody has looked at that yet: it may be locked.
    bool holds(size_t index) const { return reopenings_[index] != nullptr; }
    // Another member gets this place; the one that had it is not held.
    void forget(size_t index);

    // The member that is being brought up to date, if one is.
    std::optional<size_t> current() const { return current_; }

    static constexpr uint64_t kFirstWait_ns = kSecond;  // Doubled with each attempt.
    static constexpr uint64_t kLastWait_ns = 60 * kSecond;
    static constexpr uint64_t kPoll_ns = 50 * kMillisecond;  // While requests are outstanding.

private:
    struct Patience {
        uint64_t due_ns = 0;
        uint64_t wait_ns = kFirstWait_ns;
        uint64_t in_sync_since_ns = 0;
        bool from_nothing = false;  // What it holds is no base.
    };

    Task<void> look_after(size_t index);
    void release_when_quiet(size_t index);
    bool is_wanted(size_t index) const;
    void reopen(size_t index);
    void take_back(size_t index, std::unique_ptr<blockdev::LocalMember> member);
    Task<void> bring_back(size_t index);
    Task<Status> bring_up_to_date(size_t index);
    Task<Result<ResyncBase>> find_base(size_t index);
    void wait_longer(size_t index);
    uint64_t next_look_ns() const;

    Env& env_;
    MemberSet& members_;
    Resync& resync_;
    HealthKeeper& health_;
    blockdev::BufferPool& pool_;
    Options options_;
    FailureSink on_failure_;
    std::array<Patience, blockdev::kMaximumMembers> patience_;
    std::array<std::unique_ptr<Reopening>, blockdev::kMaximumMembers> reopenings_;
    std::optional<size_t> current_;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
