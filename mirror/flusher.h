// SPDX-License-Identifier: Apache-2.0
//
// Flusher: the volume's stable point. A number is stable once everything up to it was logged on
// every member that counts before a flush was submitted there and that flush succeeded on all.
// Who does not count any more is not waited for, though its flush goes on.
#pragma once

#include <functional>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"
#include "mirror/sequencer.h"

namespace gemel::mirror {

class Flusher {
public:
    Flusher(Env& env, MemberSet& members, Sequencer& sequencer, FailureSink on_failure);

    // Waits until `sequence`, which must be committed, is stable. Callers share flushes: whoever
    // comes while one is under way waits for the next. A flush that failed is never repeated: its
    // member is reported, and waited for until the configuration does without it.
    Task<Status> flush_to(uint64_t sequence);
    // Ends all that wait, and all that come, with an error.
    void stop();
    // Waits for flushes that nobody waits for any more.
    Task<void> join() { co_await flushes_.join(); }

    // Called with how long a member took for a flush.
    void set_on_flushed(std::function<void(size_t member, uint64_t latency_ns)> call) {
        on_flushed_ = std::move(call);
    }

    uint64_t stable_point() const { return stable_point_; }

private:
    Task<void> flush_member(size_t index, uint64_t round);
    bool is_stable_on_all() const;

    Env& env_;
    MemberSet& members_;
    Sequencer& sequencer_;
    FailureSink on_failure_;
    std::function<void(size_t, uint64_t)> on_flushed_;
    uint64_t stable_point_;
    uint64_t round_ = 0;
    uint32_t asked_ = 0;    // By the flush that is under way: a bit for each member that counted,
    uint32_t flushed_ = 0;  // and those of them that succeeded.
    bool running_ = false;
    bool stopped_ = false;
    Event finished_;
    Scope flushes_;
};

}  // namespace gemel::mirror
