// SPDX-License-Identifier: Apache-2.0
//
// Watchdog: finds members that make no progress, or too many errors. Health is the progress of
// requests, not an answer to a ping: a member is overdue when one of its requests is older than the
// limit while another member has completed some that were submitted no earlier.
#pragma once

#include <cstdint>
#include <functional>

#include "blockdev/env.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"

namespace gemel::mirror {

struct WatchLimits {
    uint64_t request_ns = 1 * kSecond;  // --member-timeout
    uint64_t flush_ns = 5 * kSecond;    // The kernel may have much to write back.
    double errors = 20;                 // Of the device, before it is taken out. See WatchedDisk.
};

enum class Verdict : uint8_t { healthy, overdue, faulty };

// About one member, given one that is a fair comparison. `not_before_ns`: nobody was there to take
// answers before; deadlines count from then. Pure.
Verdict judge(const blockdev::MemberProgress& member, const blockdev::MemberProgress& other,
              uint64_t now_ns, uint64_t not_before_ns, const WatchLimits& limits);

class Watchdog {
public:
    Watchdog(Env& env, MemberSet& members, WatchLimits limits, FailureSink on_failure);

    // The background work, until stop().
    Task<void> run();
    void stop();

private:
    bool all_idle() const;
    void look(uint64_t now_ns);
    Verdict verdict_on(size_t index, uint64_t now_ns) const;

    Env& env_;
    MemberSet& members_;
    WatchLimits limits_;
    FailureSink on_failure_;
    Event wake_;
    uint64_t not_before_ns_ = 0;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
