// SPDX-License-Identifier: Apache-2.0
#include "mirror/read_policy.h"

#include <algorithm>

namespace gemel::mirror {

ReadLimits ReadLimits::within(uint64_t member_timeout_ns) {
    ReadLimits limits;
    limits.late_ns_max = std::max(member_timeout_ns / 8, limits.late_ns_min);
    return limits;
}

uint64_t late_after_ns(const Latency& latency, const ReadLimits& limits) {
    return std::clamp(limits.late_p99s * latency.p99_ns(), limits.late_ns_min, limits.late_ns_max);
}

bool is_slow(const ReadCandidate& candidate, uint64_t fastest_ns) {
    return candidate.recent_ns > 2 * fastest_ns;
}

uint64_t fastest_ns(std::span<const ReadCandidate> candidates) {
    uint64_t fastest = UINT64_MAX;
    for (const ReadCandidate& candidate : candidates) {
        if (candidate.readable && candidate.recent_ns != 0) {
            fastest = std::min(fastest, candidate.recent_ns);
        }
    }
    return fastest == UINT64_MAX ? 1 : fastest;
}

size_t choose_reader(std::span<const ReadCandidate> candidates, size_t first) {
    const uint64_t fastest = fastest_ns(candidates);
    size_t chosen = SIZE_MAX;
    uint64_t least = 0;
    for (size_t tried = 0; tried < candidates.size(); ++tried) {
        const size_t index = (first + tried) % candidates.size();
        const ReadCandidate& candidate = candidates[index];
        if (!candidate.readable) continue;
        const uint64_t each = is_slow(candidate, fastest) ? candidate.recent_ns : fastest;
        const uint64_t cost = (candidate.in_flight + 1) * each;
        if (chosen != SIZE_MAX && cost >= least) continue;
        chosen = index;
        least = cost;
    }
    return chosen;
}

}  // namespace gemel::mirror
