// SPDX-License-Identifier: Apache-2.0
//
// Slowness: when a member is too slow to be waited for, and when it may be again. Pure.
//
// Members are compared with each other only, by the work that all of them get alike: the batches of
// the log, and flushes. Where all are slow nobody is.
#pragma once

#include <cstdint>
#include <span>

#include "blockdev/loop.h"

namespace gemel::mirror {

struct SlowLimits {
    uint64_t window_ns = 250 * kMillisecond;
    // In a window a member is slow if it took so many times as long as the fastest other one, and
    // so long at all; it is fast if it took no more than half of either.
    uint64_t times = 10;
    uint64_t floor_ns = 5 * kMillisecond;
    // So many slow windows, without one in between that was not, and it is not waited for any more.
    unsigned windows_to_leave = 4;
    // So long it must be fast before it is waited for again; doubled with each relapse.
    uint64_t first_wait_ns = 5 * kSecond;
    uint64_t last_wait_ns = 120 * kSecond;
    // After so long without a relapse it begins with the first wait again.
    uint64_t forgiven_ns = 600 * kSecond;
};
static_assert(SlowLimits{}.first_wait_ns > SlowLimits{}.windows_to_leave * SlowLimits{}.window_ns);

// What a member took for one kind of work in one window.
struct WorkDone {
    uint64_t answers = 0;
    uint64_t total_ns = 0;
    uint64_t oldest_ns = 0;  // The age of the oldest that is not answered; 0: there is none.

    void add(uint64_t latency_ns) {
        ++answers;
        total_ns += latency_ns;
    }
    bool known() const { return answers != 0 || oldest_ns != 0; }
    // What is not answered yet takes at least as long as it has taken already.
    uint64_t mean_ns() const;
};

enum class Speed : uint8_t { unknown, fast, between, slow };

// `others`: of those in sync. Unknown if there is nothing to compare.
Speed judge_speed(const WorkDone& own, std::span<const WorkDone> others, const SlowLimits& limits);

// One member over time.
class SlowHistory {
public:
    enum class Advice : uint8_t { nothing, leave, come_back };

    // A window has ended. `lags`: the member is not waited for at the moment.
    Advice note(Speed speed, bool lags, uint64_t now_ns, const SlowLimits& limits);
    // It was waited for again, or was to be and was too slow for that.
    void came_back(uint64_t now_ns);
    void relapsed(uint64_t now_ns, const SlowLimits& limits);
    // Somebody knows better: it may come back at once.
    void forgive() { good_since_ns_ = 0, wait_ns_ = 0; }

    uint64_t wait_ns() const { return wait_ns_; }

private:
    unsigned slow_windows_ = 0;
    uint64_t good_since_ns_ = 0;
    uint64_t wait_ns_ = 0;
    uint64_t back_since_ns_ = 0;
};

}  // namespace gemel::mirror
