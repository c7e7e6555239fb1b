// SPDX-License-Identifier: Apache-2.0
//
// PaceController: how fast background work may go beside clients, found out by its effect on them.
//
// What clients feel is the share of their requests that take longer than `factor` times the p99 of
// those that met no background work: if that is more than one in a hundred, the p99 has grown by
// more than the factor. The controller goes up and down a ladder of steps, each about twice as fast
// as the one before. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blockdev/loop.h"
#include "mirror/latency.h"

namespace gemel::mirror {

struct PaceStep {
    uint64_t piece_blocks = 0;  // Read, or copied, at a time.
    size_t at_once = 1;         // Pieces in flight.
    uint64_t rests = 0;         // After each piece, times what it took.
};

class PaceController {
public:
    static constexpr double kDefaultFactor = 1.5;
    static constexpr size_t kSteps = 13;
    // The lowest step is the floor: the work never stands still, whatever clients feel. The highest
    // one is for when there are none.
    static PaceStep step_at(size_t number);

    void set_factor(double factor) { factor_ = factor; }
    double factor() const { return factor_; }

    // A client's request has ended. `calm`: no background work was under way meanwhile. `running`:
    // there is some at the time, if only resting.
    void note(uint64_t latency_ns, bool calm, bool running, uint64_t now_ns);
    // Background work begins, or goes on after a while without clients: nothing is known of it.
    void restart(uint64_t now_ns);

    size_t step() const { return step_; }
    // Of clients' requests that met no background work; 0: not known.
    uint64_t calm_p99_ns() const { return calm_.p99_ns(); }

    static constexpr uint32_t kCalmNeeded = 100;  // Before anything is compared with it.
    static constexpr uint64_t kHoldMin_ns = 500 * kMillisecond;
    static constexpr uint64_t kHoldMax_ns = 16 * kSecond;

private:
    bool has_enough(uint64_t now_ns) const;
    void decide(uint64_t now_ns);
    void begin_window(uint64_t now_ns);

    double factor_ = kDefaultFactor;
    Latency calm_;
    uint64_t limit_ns_ = 0;  // For the window that is open.
    size_t step_ = 0;
    uint64_t window_began_ns_ = 0;
    uint64_t total_ = 0;  // Requests in the window,
    uint64_t over_ = 0;   // and those over the limit.
    // After a step was too fast, the way up is barred for a while, longer each time.
    uint64_t hold_until_ns_ = 0;
    uint64_t hold_ns_ = kHoldMin_ns;
    size_t too_fast_ = kSteps;  // The last one that was.
};

}  // namespace gemel::mirror
