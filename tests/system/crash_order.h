// SPDX-License-Identifier: Apache-2.0
//
// Can what was seen have come from doing each write as a whole, one after the other? Pure: events
// and observed precedences in, a contradiction out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gemel::crash {

// One write that is done as a whole, and when it can have been done. Two events share no moment,
// and `submitted` lies before `acknowledged`; only old ones may share theirs.
struct Event {
    uint64_t submitted = 0;
    uint64_t acknowledged = UINT64_MAX;  // Never: nothing is known to come after it.
};

// Seen on the disk at `offset`: `earlier` was done before `later`.
struct Precedence {
    size_t earlier = 0;
    size_t later = 0;
    uint64_t offset = 0;
};

// An event acknowledged before another was submitted also precedes it. Returns the observed
// precedences of one cycle, which prove that no order exists, or nothing if there is an order.
std::vector<Precedence> find_contradiction(const std::vector<Event>& events,
                                           const std::vector<Precedence>& seen);

}  // namespace gemel::crash
