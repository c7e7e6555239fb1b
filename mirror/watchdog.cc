// SPDX-License-Identifier: Apache-2.0
#include "mirror/watchdog.h"

#include <algorithm>

namespace gemel::mirror {

using blockdev::MemberProgress;

namespace {

constexpr uint64_t kLooksPerLimit = 8;

// Whether what began at `since` is over the limit, and the other one got something done meanwhile
// (or has nothing to do).
bool is_overdue(uint64_t since, uint64_t limit, const MemberProgress& other, uint64_t now,
                uint64_t not_before) {
    if (since == UINT64_MAX) return false;
    const uint64_t counted = std::max(since, not_before);
    if (now < counted || now - counted < limit) return false;
    const bool moves = other.in_flight == 0 || other.last_completed_ns > since;
    return moves;
}

}  // namespace

Verdict judge(const MemberProgress& member, const MemberProgress& other, uint64_t now_ns,
              uint64_t not_before_ns, const WatchLimits& limits) {
    if (is_overdue(member.oldest_request_ns, limits.request_ns, other, now_ns, not_before_ns) ||
        is_overdue(member.oldest_flush_ns, limits.flush_ns, other, now_ns, not_before_ns)) {
        return Verdict::overdue;
    }
    if (member.errors > limits.errors && other.errors < member.errors) return Verdict::faulty;
    return Verdict::healthy;
}

Watchdog::Watchdog(Env& env, MemberSet& members, WatchLimits limits, FailureSink on_failure)
    : env_(env),
      members_(members),
      limits_(limits),
      on_failure_(std::move(on_failure)),
      wake_(env) {}

void Watchdog::stop() {
    stopping_ = true;
    wake_.notify_all();
    members_.doorbell().ring();
}

bool Watchdog::all_idle() const {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.in_use(i) && members_.member(i).progress().in_flight != 0) return false;
    }
    return true;
}

Task<void> Watchdog::run() {
    const uint64_t interval = std::max<uint64_t>(limits_.request_ns / kLooksPerLimit, 1);
    not_before_ns_ = env_.now_ns();
    while (!stopping_) {
        if (all_idle()) {
            co_await members_.doorbell().wait();
            not_before_ns_ = env_.now_ns();
            if (stopping_) break;
        }
        const uint64_t due = env_.now_ns() + interval;
        co_await wake_.wait_until(due);
        const uint64_t now = env_.now_ns();
        // We were not running ourselves: what was answered meanwhile has not been seen yet.
        if (now > due + interval) {
            not_before_ns_ = now;
            continue;
        }
        if (!stopping_) look(now);
    }
}

// All members at the same time: whoever is overdue now leaves now.
void Watchdog::look(uint64_t now_ns) {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.in_use(i)) continue;
        const Verdict verdict = verdict_on(i, now_ns);
        if (verdict == Verdict::overdue) {
            on_failure_({i, "no progress", Error{Errc::timed_out, 0, ""}});
        } else if (verdict == Verdict::faulty) {
            on_failure_({i, "too many errors", Error{Errc::io, 0, ""}});
        }
    }
}

// Any other one in sync that gets on is comparison enough; without one the last is never removed.
Verdict Watchdog::verdict_on(size_t index, uint64_t now_ns) const {
    const MemberProgress own = members_.member(index).progress();
    for (size_t j = 0; j < members_.size(); ++j) {
        if (j == index || !members_.readable(j)) continue;
        const Verdict verdict =
            judge(own, members_.member(j).progress(), now_ns, not_before_ns_, limits_);
        if (verdict != Verdict::healthy) return verdict;
    }
    return Verdict::healthy;
}

}  // namespace gemel::mirror
