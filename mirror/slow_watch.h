// SPDX-License-Identifier: Apache-2.0
//
// SlowWatch: finds members that are far slower than the others for long, and lets the volume go on
// without waiting for them. Such a member goes on to get every batch; when it has recovered, and
// has caught up, it is waited for again. `lagging` in the design.
#pragma once

#include <array>
#include <functional>
#include <string>

#include "blockdev/env.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"
#include "mirror/sequencer.h"
#include "mirror/slowness.h"

namespace gemel::mirror {

class SlowWatch {
public:
    // What only the volume can do.
    struct Actions {
        // The member is too slow to be waited for. It may be kept nevertheless.
        std::function<void(size_t member, const std::string& why)> leave;
        // It cannot keep up at all.
        FailureSink fail;
        // Brings into force what the members are; true if that has succeeded.
        std::function<Task<bool>()> reconfigure;
    };
    SlowWatch(Env& env, MemberSet& members, Sequencer& sequencer, SlowLimits limits,
              Actions actions);

    // How long a member took for what all of them got.
    void note_append(size_t member, uint64_t latency_ns) { note(appends_, member, latency_ns); }
    void note_flush(size_t member, uint64_t latency_ns) { note(flushes_, member, latency_ns); }

    // The member may come back at once.
    void hurry(size_t member) { history_[member].forgive(); }

    // Another member gets this place.
    void forget(size_t member) {
        history_[member] = SlowHistory{};
        appends_[member] = flushes_[member] = WorkDone{};
    }

    // The background work, until stop().
    Task<void> run();
    void stop();

    // A member that lags is given up when its log is so full: its batches are memory, too.
    static constexpr uint64_t kLogPercent = 87;

private:
    using Work = std::array<WorkDone, blockdev::kMaximumMembers>;
    void note(Work& work, size_t member, uint64_t latency_ns) {
        work[member].add(latency_ns);
        if (asleep_) wake_.notify_all();
    }
    bool anything_to_watch() const;
    void look(uint64_t now_ns);
    Speed speed_of(size_t index, const Work& work) const;
    std::string why(size_t index) const;
    void look_after_lagging(size_t index, SlowHistory::Advice advice);
    Task<void> bring_back(size_t index);
    Task<bool> catch_up(size_t index);

    Env& env_;
    MemberSet& members_;
    Sequencer& sequencer_;
    SlowLimits limits_;
    Actions actions_;
    Work appends_{};
    Work flushes_{};
    uint64_t flush_mean_ns_ = 0;  // Of the fastest, when there was a flush the last time.
    std::array<SlowHistory, blockdev::kMaximumMembers> history_;
    std::array<bool, blockdev::kMaximumMembers> returning_{};
    Scope scope_;
    Event wake_;
    bool asleep_ = false;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
