// SPDX-License-Identifier: Apache-2.0
//
// Which member is read from, and when another one is asked as well. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blockdev/loop.h"
#include "mirror/latency.h"

namespace gemel::mirror {

struct ReadLimits {
    // A read is late when it is older than so many times the p99 of its member, within bounds.
    uint64_t late_p99s = 3;
    uint64_t late_ns_min = 2 * kMillisecond;
    uint64_t late_ns_max = 125 * kMillisecond;
    // Second reads in flight, of the whole volume: a system that is slow altogether gets no more
    // than these on top.
    size_t races_max = 16;
    // A member that is passed over is read from so often nevertheless, beside another one.
    uint64_t probe_ns = 250 * kMillisecond;

    // `member_timeout_ns`: when a member without progress is given up.
    static ReadLimits within(uint64_t member_timeout_ns);
};

// When a read of a member with this latency is late.
uint64_t late_after_ns(const Latency& latency, const ReadLimits& limits);

struct ReadCandidate {
    bool readable = false;
    uint32_t in_flight = 0;
    uint64_t recent_ns = 0;  // 0: not known, which is as good as the best.
};

// A member is slow if its recent latency is over twice that of the fastest.
bool is_slow(const ReadCandidate& candidate, uint64_t fastest_ns);
uint64_t fastest_ns(std::span<const ReadCandidate> candidates);

// The one whose queue, with one more in it, is over first; those that are not slow count as equally
// fast. All alike, the first one from `first` on, so that each has its turn. SIZE_MAX: none is
// readable.
size_t choose_reader(std::span<const ReadCandidate> candidates, size_t first);

}  // namespace gemel::mirror
