// SPDX-License-Identifier: Apache-2.0
//
// A loop whose clock stands still until a test moves it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blockdev/loop.h"

namespace gemel {

class ManualLoop : public Loop {
public:
    uint64_t now_ns() const override { return now_ns_; }

    // Runs everything that is ready, and what that makes ready.
    void run() { run_ready(); }

    // Moves the clock to `target_ns`, stopping at every deadline on the way.
    void run_until(uint64_t target_ns) {
        run_ready();
        while (next_deadline_ns() <= target_ns) {
            now_ns_ = std::max(now_ns_, next_deadline_ns());
            expire_timers(now_ns_);
            run_ready();
        }
        now_ns_ = std::max(now_ns_, target_ns);
    }

    bool idle() const { return !has_ready() && next_deadline_ns() == UINT64_MAX; }

private:
    uint64_t now_ns_ = 1'000;
};

}  // namespace gemel
