// SPDX-License-Identifier: Apache-2.0
#include "mirror/slowness.h"

#include <algorithm>

namespace gemel::mirror {

uint64_t WorkDone::mean_ns() const {
    if (!known()) return 0;
    const uint64_t mean = answers == 0 ? 0 : total_ns / answers;
    if (oldest_ns <= mean) return mean;
    return (total_ns + oldest_ns) / (answers + 1);
}

Speed judge_speed(const WorkDone& own, std::span<const WorkDone> others, const SlowLimits& limits) {
    uint64_t fastest = UINT64_MAX;
    for (const WorkDone& other : others) {
        if (other.answers != 0) fastest = std::min(fastest, other.mean_ns());
    }
    if (!own.known() || fastest == UINT64_MAX) return Speed::unknown;
    const uint64_t mean = own.mean_ns();
    if (mean > limits.floor_ns && mean > limits.times * fastest) return Speed::slow;
    if (mean <= limits.floor_ns / 2 || mean <= limits.times * fastest / 2) return Speed::fast;
    return Speed::between;
}

SlowHistory::Advice SlowHistory::note(Speed speed, bool lags, uint64_t now_ns,
                                      const SlowLimits& limits) {
    if (lags) {
        if (speed == Speed::slow || speed == Speed::between) good_since_ns_ = now_ns;
        return now_ns >= good_since_ns_ + wait_ns_ ? Advice::come_back : Advice::nothing;
    }
    if (speed == Speed::slow) {
        ++slow_windows_;
    } else if (speed != Speed::unknown) {
        slow_windows_ = 0;
    }
    if (slow_windows_ < limits.windows_to_leave) return Advice::nothing;
    relapsed(now_ns, limits);
    return Advice::leave;
}

void SlowHistory::came_back(uint64_t now_ns) {
    slow_windows_ = 0;
    back_since_ns_ = now_ns;
}

void SlowHistory::relapsed(uint64_t now_ns, const SlowLimits& limits) {
    const bool forgiven = back_since_ns_ != 0 && now_ns - back_since_ns_ > limits.forgiven_ns;
    wait_ns_ = forgiven ? limits.first_wait_ns
                        : std::clamp(wait_ns_ * 2, limits.first_wait_ns, limits.last_wait_ns);
    slow_windows_ = 0;
    good_since_ns_ = now_ns;
}

}  // namespace gemel::mirror
