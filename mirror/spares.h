// SPDX-License-Identifier: Apache-2.0
//
// Spares: members that hold nothing until a regular one is lost, and take its place then. When all
// regular ones are in sync again, or the lost one was removed, each goes back to what it was, or
// stays for good.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "blockdev/env.h"
#include "mirror/member_set.h"

namespace gemel::mirror {

// One member, as far as spares are concerned.
struct SpareView {
    MemberState state = MemberState::in_sync;
    bool is_spare = false;
    bool stands_in = false;
    bool is_ready = true;        // A spare: it is open, and could begin.
    bool is_replaced = false;    // Somebody else is on the way to take its place.
    uint64_t lost_since_ns = 0;  // 0: it is not lost.
};

// A member that is away for less comes back more cheaply than a spare is filled.
inline constexpr uint64_t kSparePatience_ns = 30 * kSecond;

// Neither there nor on its way back, and nobody wanted that.
bool is_lost(MemberState state);

struct SpareMove {
    std::optional<size_t> call_up;
    std::optional<size_t> release;
    uint64_t look_again_ns = UINT64_MAX;  // Unless something changes before.
};
// What to do now. Pure.
SpareMove next_spare_move(std::span<const SpareView> members, uint64_t now_ns);

class SpareKeeper {
public:
    // `reconfigure` begins to bring into force what the set asks for.
    SpareKeeper(Env& env, MemberSet& members, std::function<void()> reconfigure);

    // The background work, until stop().
    Task<void> run();
    void stop();

private:
    std::vector<SpareView> look(uint64_t now_ns);
    void carry_out(const SpareMove& move);

    Env& env_;
    MemberSet& members_;
    std::function<void()> reconfigure_;
    std::vector<uint64_t> lost_since_ns_;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
