// SPDX-License-Identifier: Apache-2.0
//
// Flusher: the volume's stable point. A number is stable once everything up to it was logged on
// every member before a flush was submitted there and that flush succeeded on all of them.
#pragma once

#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/member_failure.h"
#include "mirror/sequencer.h"

namespace gemel::mirror {

class Flusher {
public:
    Flusher(Env& env, std::vector<blockdev::Member*> members, Sequencer& sequencer,
            FailureSink on_failure);

    // Waits until `sequence`, which must be committed, is stable. Callers share flushes: whoever
    // comes while one is under way waits for the next. A flush that failed is never repeated.
    Task<Status> flush_to(uint64_t sequence);

    uint64_t stable_point() const { return stable_point_; }

private:
    Task<void> flush_member(size_t index);

    Env& env_;
    std::vector<blockdev::Member*> members_;
    Sequencer& sequencer_;
    FailureSink on_failure_;
    uint64_t stable_point_;
    bool running_ = false;
    bool failed_ = false;
    Event finished_;
};

}  // namespace gemel::mirror
