// SPDX-License-Identifier: Apache-2.0
//
// Pacer: decides when members bring their logs home, and how hard the brake on new writes is. The
// tail of a log only moves up to the volume's stable point: what one member has dropped from its
// log is then stable on all of them, and no crash can leave another one without it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/flusher.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"
#include "mirror/sequencer.h"

namespace gemel::mirror {

// How full logs turn into work and braking. Pure, for its own test.
struct Pace {
    bool checkpoint = false;
    uint64_t slice_bytes = 0;
    size_t window = 0;      // Home writes in flight, per member.
    uint64_t delay_ns = 0;  // Between batches.
};
Pace pace_for(uint64_t log_bytes_used, uint64_t log_bytes_total, bool idle, bool wanted);

class Pacer {
public:
    Pacer(Env& env, MemberSet& members, Sequencer& sequencer, Flusher& flusher,
          FailureSink on_failure);

    // The background work, until stop(). Runs in the volume's scope.
    Task<void> run();
    void stop();

    // Called when a checkpoint found its member's checksum table damaged: repairs it, so that the
    // checkpoint can be repeated.
    using Repair = std::function<Task<Status>(size_t member)>;
    void set_repair(Repair repair) { repair_ = std::move(repair); }

    // Call after logging: cheap, wakes the work when it is due.
    void note_progress();

    // Waits until everything committed by now is home on every member, or cannot be: a member's
    // file system is full (no_space), the volume has stopped (closed), or the deadline passes.
    Task<Status> drain(uint64_t deadline_ns);

    // A member's file system had no room for what the log holds; nothing is lost, and it is tried
    // again every second.
    bool short_of_space() const { return short_of_space_; }
    uint64_t checkpoints() const { return checkpoints_; }
    // Of the fullest log that holds up the others.
    uint64_t log_bytes_used() const;

    static constexpr uint64_t kIdleAfter_ns = 1 * kSecond;
    static constexpr uint64_t kPointsAfter_ns = 100 * kMillisecond;

private:
    Task<void> checkpoint_member(size_t index, uint64_t sequence, Pace pace);
    Task<void> bring_home(size_t index, uint64_t sequence, Pace pace);
    Task<bool> checkpoint_once(Pace pace);
    bool waits_for_any() const;
    bool all_home() const;
    // Grows whenever any member's log gave back space.
    uint64_t tails() const;

    Env& env_;
    MemberSet& members_;
    Sequencer& sequencer_;
    Flusher& flusher_;
    FailureSink on_failure_;
    Repair repair_;
    uint64_t log_bytes_total_;
    Event wake_;
    Event done_;
    Event slice_ended_;
    Scope slices_;
    uint32_t at_work_ = 0;  // Members with a slice under way: a bit each.
    uint64_t last_write_ns_ = 0;
    uint64_t last_seen_commit_ = 0;
    uint64_t checkpoints_ = 0;
    size_t drains_wanted_ = 0;
    bool no_space_ = false;
    std::string full_member_;  // The last one, and what it said.
    bool short_of_space_ = false;
    bool stopping_ = false;
    bool asleep_ = false;  // Until somebody wakes it: nothing is in the logs.
};

}  // namespace gemel::mirror
