// SPDX-License-Identifier: Apache-2.0
#include "mirror/pacer.h"

#include <algorithm>

#include "mirror/limits.h"

namespace gemel::mirror {

namespace {

// Work begins when the log is half full, so that a burst is absorbed whole; the brake begins at
// three quarters and grows to its full force at the end. In between the two the rates of writing
// and of bringing home meet.
constexpr uint64_t kStartPercent = 50;
constexpr uint64_t kBrakePercent = 75;
constexpr uint64_t kFullBrake_ns = 5 * kMillisecond;
constexpr uint64_t kSliceFraction = 8;  // Of the log: how finely space comes back.
constexpr uint64_t kMinimumSlice = 1ull << 20;
// Home writes in flight: few while there is time, so that those of the log need not queue behind
// them in the device; many when the brake is near, or nobody else is there.
constexpr size_t kWindowMin = 8;
constexpr size_t kWindowMax = 32;
constexpr uint64_t kSpaceRetry_ns = 1 * kSecond;

}  // namespace

Pace pace_for(uint64_t used, uint64_t total, bool idle, bool wanted) {
    Pace pace;
    pace.slice_bytes = std::max(total / kSliceFraction, kMinimumSlice);
    pace.checkpoint = used != 0 && (idle || wanted || used * 100 >= total * kStartPercent);
    const uint64_t brake_from = total / 100 * kBrakePercent;
    const uint64_t start_from = total / 100 * kStartPercent;
    pace.window = kWindowMax;
    if (!idle && !wanted && used < brake_from) {
        const uint64_t over = used - std::min(used, start_from);
        pace.window = kWindowMin + (kWindowMax - kWindowMin) * over / (brake_from - start_from);
    }
    if (used > brake_from) {
        const uint64_t over = std::min(used - brake_from, total - brake_from);
        pace.delay_ns = kFullBrake_ns * over / (total - brake_from);
    }
    return pace;
}

Pacer::Pacer(Env& env, MemberSet& members, Sequencer& sequencer, Flusher& flusher,
             FailureSink on_failure)
    : env_(env),
      members_(members),
      sequencer_(sequencer),
      flusher_(flusher),
      on_failure_(std::move(on_failure)),
      log_bytes_total_(
          std::min(kLoggedBytesMax, members_.layout().log_size - blockdev::kLogReserve)),
      wake_(env),
      done_(env),
      slice_ended_(env),
      slices_(env) {}

uint64_t Pacer::log_bytes_used() const {
    uint64_t used = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.holds_up(i)) used = std::max(used, members_.member(i).log_bytes_used());
    }
    return used;
}

void Pacer::note_progress() {
    const Pace pace = pace_for(log_bytes_used(), log_bytes_total_, false, drains_wanted_ != 0);
    sequencer_.set_delay(pace.delay_ns);
    // Asleep with empty logs it set itself no deadline: it must see that there is something now.
    if (pace.checkpoint || sequencer_.wants_room() || asleep_) wake_.notify_all();
    if (slice_ended_.has_waiters() && !waits_for_any()) slice_ended_.notify_all();
}

uint64_t Pacer::tails() const {
    uint64_t sum = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.holds_up(i)) sum += members_.member(i).tail_sequence();
    }
    return sum;
}

bool Pacer::all_home() const { return log_bytes_used() == 0; }

Task<void> Pacer::run() {
    while (!stopping_) {
        const uint64_t now = env_.now_ns();
        if (sequencer_.commit_point() != last_seen_commit_) {
            last_seen_commit_ = sequencer_.commit_point();
            last_write_ns_ = now;
        }
        const bool idle = sequencer_.idle() && now - last_write_ns_ >= kIdleAfter_ns;
        const bool wanted = drains_wanted_ != 0 || sequencer_.wants_room();
        const Pace pace = pace_for(log_bytes_used(), log_bytes_total_, idle, wanted);
        sequencer_.set_delay(pace.delay_ns);
        if (!pace.checkpoint) {
            done_.notify_all();
            if (all_home()) {
                asleep_ = true;
                co_await wake_.wait();
                asleep_ = false;
                continue;
            }
            // Not while space is short: nothing would take these batches out of the log again.
            if (!short_of_space_ &&
                flusher_.stable_point() > sequencer_.last_logged_stable_point() &&
                now - last_write_ns_ >= kPointsAfter_ns) {
                sequencer_.log_points();
            }
            co_await wake_.wait_until(now + kPointsAfter_ns);
            continue;
        }
        const uint64_t tails_before = tails();
        const bool moved = co_await checkpoint_once(pace);
        done_.notify_all();
        if (stopping_) break;
        if (moved && tails() == tails_before) {
            // All that is left in the logs is still in flight. Nothing above has suspended, so
            // without this wait the loop would spin and never see those writes complete.
            co_await wake_.wait_until(env_.now_ns() + kMillisecond);
            continue;
        }
        if (moved) {
            sequencer_.resume();
            continue;
        }
        if (sequencer_.wants_room()) {
            sequencer_.reject_queued(Error{Errc::no_space, 0, "the log cannot be emptied"});
        }
        co_await wake_.wait_until(env_.now_ns() + kSpaceRetry_ns);
    }
    done_.notify_all();
    co_await slices_.join();
}

bool Pacer::waits_for_any() const {
    for (size_t i = 0; i < members_.size(); ++i) {
        if ((at_work_ >> i & 1) != 0 && members_.holds_up(i)) return true;
    }
    return false;
}

// One that lags works on beside the others, which do not wait for it.
// False if a member's file system had no room.
Task<bool> Pacer::checkpoint_once(Pace pace) {
    const Status flushed = co_await flusher_.flush_to(sequencer_.commit_point());
    if (!flushed.ok()) co_return false;  // The volume has stopped.
    const uint64_t stable = flusher_.stable_point();
    no_space_ = false;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.checkpoints(i) || (at_work_ >> i & 1) != 0) continue;
        at_work_ |= 1u << i;
        slices_.start(checkpoint_member(i, stable, pace));
    }
    while (waits_for_any()) co_await slice_ended_.wait();
    if (no_space_ != short_of_space_) {
        env_.log(LogLevel::warning,
                 no_space_ ? full_member_ +
                                 ": its file system is full: new writes get ENOSPC, what is in "
                                 "the log stays there until space is back"
                           : full_member_ + ": its file system has space again");
    }
    short_of_space_ = no_space_;
    ++checkpoints_;
    co_return !no_space_;
}

Task<void> Pacer::checkpoint_member(size_t index, uint64_t sequence, Pace pace) {
    co_await bring_home(index, sequence, pace);
    at_work_ &= ~(1u << index);
    slice_ended_.notify_all();
}

Task<void> Pacer::bring_home(size_t index, uint64_t sequence, Pace pace) {
    blockdev::Member& member = members_.member(index);
    const Status status = co_await member.checkpoint(sequence, pace.slice_bytes, pace.window);
    if (status.ok()) co_return;
    // One that does not count must not hold up the others.
    if (status.error().code == Errc::no_space && members_.counts(index)) {
        no_space_ = true;
        full_member_ = member.path() + ": " + status.error().text();
        co_return;
    }
    if (status.error().code == Errc::corrupt && repair_) {
        const Status repaired = co_await repair_(index);
        if (repaired.ok()) co_return;
    }
    on_failure_({index, "checkpoint", status.error()});
}

Task<Status> Pacer::drain(uint64_t deadline_ns) {
    const uint64_t target = sequencer_.commit_point();
    ++drains_wanted_;
    wake_.notify_all();
    Status status = Status::success();
    while (true) {
        bool home = true;
        for (size_t i = 0; i < members_.size(); ++i) {
            if (!members_.holds_up(i)) continue;
            const blockdev::Member& member = members_.member(i);
            home = home && (member.tail_sequence() > target || member.log_bytes_used() == 0);
        }
        if (home) break;
        if (stopping_) {
            status = Error{Errc::closed, 0, "drain"};
            break;
        }
        const bool notified = co_await done_.wait_until(deadline_ns);
        if (!notified) {
            status = Error{Errc::timed_out, 0, "drain"};
            break;
        }
        if (short_of_space_) {
            status = Error{Errc::no_space, 0, "drain"};
            break;
        }
    }
    --drains_wanted_;
    co_return status;
}

void Pacer::stop() {
    stopping_ = true;
    wake_.notify_all();
}

}  // namespace gemel::mirror
