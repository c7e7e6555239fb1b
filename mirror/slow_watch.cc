// SPDX-License-Identifier: Apache-2.0
#include "mirror/slow_watch.h"

#include <algorithm>
#include <vector>

#include "mirror/limits.h"

namespace gemel::mirror {

namespace {

constexpr uint64_t kLookAgain_ns = kMillisecond;

}  // namespace

SlowWatch::SlowWatch(Env& env, MemberSet& members, Sequencer& sequencer, SlowLimits limits,
                     Actions actions)
    : env_(env),
      members_(members),
      sequencer_(sequencer),
      limits_(limits),
      actions_(std::move(actions)),
      scope_(env),
      wake_(env) {}

void SlowWatch::stop() {
    stopping_ = true;
    wake_.notify_all();
}

bool SlowWatch::anything_to_watch() const {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.lags(i) || appends_[i].answers != 0 || flushes_[i].answers != 0) return true;
        if (members_.flows(i) && sequencer_.oldest_unanswered_ns(i) != UINT64_MAX) return true;
    }
    return false;
}

Task<void> SlowWatch::run() {
    while (!stopping_) {
        if (!anything_to_watch()) {
            asleep_ = true;
            co_await wake_.wait();
            asleep_ = false;
            if (stopping_) break;
        }
        const uint64_t due = env_.now_ns() + limits_.window_ns;
        while (!stopping_ && env_.now_ns() < due) co_await wake_.wait_until(due);
        // If we were not running ourselves, all answers are late, and some not yet seen.
        const bool overslept = env_.now_ns() > due + limits_.window_ns / 2;
        if (!stopping_ && !overslept) look(env_.now_ns());
        appends_.fill({});
        flushes_.fill({});
    }
    co_await scope_.join();
}

Speed SlowWatch::speed_of(size_t index, const Work& work) const {
    std::vector<WorkDone> others;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (i != index && members_.readable(i)) others.push_back(work[i]);
    }
    return judge_speed(work[index], others, limits_);
}

std::string SlowWatch::why(size_t index) const {
    const auto in_us = [](const WorkDone& work) {
        return std::to_string(work.mean_ns() / kMicrosecond) + " us";
    };
    std::string text = "far slower than the others: its log takes " + in_us(appends_[index]);
    if (flushes_[index].known()) text += ", a flush " + in_us(flushes_[index]);
    return text;
}

void SlowWatch::look(uint64_t now_ns) {
    uint64_t fastest_flush = UINT64_MAX;
    for (size_t i = 0; i < members_.size(); ++i) {
        const uint64_t since = members_.flows(i) ? sequencer_.oldest_unanswered_ns(i) : UINT64_MAX;
        appends_[i].oldest_ns = now_ns - std::min(now_ns, since);
        if (flushes_[i].answers != 0 && members_.readable(i)) {
            fastest_flush = std::min(fastest_flush, flushes_[i].mean_ns());
        }
    }
    if (fastest_flush != UINT64_MAX) flush_mean_ns_ = fastest_flush;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.in_use(i)) continue;
        const bool lags = members_[i].state == MemberState::lagging;
        if (!lags && !members_.readable(i)) continue;
        const Speed speed = std::max(speed_of(i, appends_), speed_of(i, flushes_));
        const SlowHistory::Advice advice = history_[i].note(speed, lags, now_ns, limits_);
        if (lags) {
            look_after_lagging(i, advice);
        } else if (advice == SlowHistory::Advice::leave && members_.readable_count() > 1) {
            actions_.leave(i, why(i));
        }
    }
}

void SlowWatch::look_after_lagging(size_t index, SlowHistory::Advice advice) {
    const uint64_t log = std::min(kLoggedBytesMax, members_.layout().log_size);
    if (members_.member(index).log_bytes_used() > log / 100 * kLogPercent) {
        actions_.fail({index, "its log is full: it cannot keep up", Error{Errc::timed_out, 0, ""}});
        return;
    }
    if (advice != SlowHistory::Advice::come_back || returning_[index]) return;
    returning_[index] = true;
    scope_.start(bring_back(index));
}

// Nothing suspends between the moment from which on acknowledgements wait for it, and the look at
// what was acknowledged until then.
Task<void> SlowWatch::bring_back(size_t index) {
    bool is_back = co_await catch_up(index);
    // Once more, as a trial, with no more to do than clients will wait for.
    const uint64_t began = env_.now_ns();
    if (is_back) is_back = co_await catch_up(index);
    const uint64_t took = env_.now_ns() - began;
    const uint64_t bearable = std::max(limits_.floor_ns, limits_.times * flush_mean_ns_);
    if (is_back && flush_mean_ns_ != 0 && took > bearable) {
        history_[index].relapsed(env_.now_ns(), limits_);
        is_back = false;
    }
    if (is_back) {
        members_[index].admitting = true;
        is_back = co_await catch_up(index);
    }
    if (is_back) is_back = co_await actions_.reconfigure();
    if (is_back && members_.readable(index)) history_[index].came_back(env_.now_ns());
    returning_[index] = false;
}

// Everything that was acknowledged by now is on it, durably.
Task<bool> SlowWatch::catch_up(size_t index) {
    const auto lost = [this, index] {
        return stopping_ || !members_.in_use(index) ||
               members_[index].state != MemberState::lagging;
    };
    const uint64_t acknowledged = sequencer_.commit_point();
    while (!lost() && members_.member(index).logged_sequence() < acknowledged) {
        co_await sleep_for(env_, kLookAgain_ns);
    }
    if (lost()) co_return false;
    const Status flushed = co_await members_.member(index).flush();
    co_return flushed.ok() && !lost();
}

}  // namespace gemel::mirror
