// SPDX-License-Identifier: Apache-2.0
//
// What must hold after any damage to one member.
#pragma once

#include <string>

#include "tests/sim/sweep/sweep_state.h"

namespace gemel::sim {

class SweepCheck {
public:
    explicit SweepCheck(SweepState& state) : state_(state) {}

    // Opens, reads, scrubs twice, closes, audits. What was wrong first; empty: nothing.
    std::string offline();
    // The same with the volume that serves, which goes on.
    std::string online();

    // Whether anything told that there was damage, since the last call of begin().
    void begin();
    bool was_told() const;

    // What is wrong with the members as they are now; nothing may be on its way to them.
    std::string audit(bool closed);

private:
    std::string open();
    std::string read_all();
    std::string scrub(bool must_be_clean);
    std::string check_home(size_t member);
    uint64_t told_by_members() const;

    mirror::VolumeWorld& world() const { return state_.world(); }
    SweepState& state_;
    uint64_t warnings_before_ = 0;
    uint64_t told_before_ = 0;
    uint64_t told_ = 0;
};

}  // namespace gemel::sim
