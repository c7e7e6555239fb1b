// SPDX-License-Identifier: Apache-2.0
#include "mirror/member_state.h"

#include <array>

namespace gemel::mirror {

using blockdev::ConfiguredState;
using enum MemberState;

namespace {

constexpr std::array<const char*, kMemberStates> kNames = {
    "in-sync", "lagging", "behind",   "resyncing", "adding", "offline",
    "failed",  "missing", "diverged", "spare",     "removed"};

constexpr uint32_t set_of(std::initializer_list<MemberState> states) {
    uint32_t bits = 0;
    for (const MemberState state : states) bits |= 1u << static_cast<unsigned>(state);
    return bits;
}

// Every way into a state in which a member is trusted leads through a whole resync, or from having
// got every batch since it was trusted; every way out of it is a change of the configuration.
//   in_sync    an error, no progress; the operator; slower than the others for long
//   lagging    fast again, and everything is on it; its log ran full, an error, no progress
//   behind     its turn has come; it went away again, or turned out to hold another history
//   failed     all its requests have ended and it could be opened again; or it is gone for good
//   missing    it is there again
//   diverged   the operator has discarded its changes
//   spare      somebody has failed, and it takes the place; it leaves that again from any state
// The operator may remove any of them; another member gets the place then.
constexpr std::array<uint32_t, kMemberStates> kMoves = {
    /* in_sync   */ set_of({lagging, failed, offline, spare, removed}),
    /* lagging   */ set_of({in_sync, failed, offline, spare, removed}),
    /* behind    */ set_of({resyncing, adding, diverged, failed, missing, offline, spare, removed}),
    /* resyncing */ set_of({in_sync, behind, failed, offline, spare, removed}),
    /* adding    */ set_of({in_sync, behind, failed, missing, offline, spare, removed}),
    /* offline   */ set_of({behind, missing, diverged, failed, removed}),
    /* failed    */ set_of({behind, missing, diverged, offline, spare, removed}),
    /* missing   */ set_of({behind, diverged, offline, failed, spare, removed}),
    /* diverged  */ set_of({behind, missing, offline, failed, removed}),
    /* spare     */ set_of({adding, missing, failed, offline, removed}),
    /* removed   */ set_of({adding, spare}),
};

}  // namespace

const char* name(MemberState state) { return kNames[static_cast<size_t>(state)]; }

const char* name(ConfiguredState state) {
    switch (state) {
        case ConfiguredState::in_sync: return name(MemberState::in_sync);
        case ConfiguredState::behind: return name(MemberState::behind);
        case ConfiguredState::adding: return name(MemberState::adding);
        case ConfiguredState::offline: return name(MemberState::offline);
        case ConfiguredState::spare: return name(MemberState::spare);
    }
    return "unknown";
}

std::optional<MemberState> member_state_named(std::string_view text) {
    for (size_t i = 0; i < kMemberStates; ++i) {
        if (text == kNames[i]) return static_cast<MemberState>(i);
    }
    return std::nullopt;
}

bool may_move(MemberState from, MemberState to) {
    return (kMoves[static_cast<size_t>(from)] >> static_cast<unsigned>(to) & 1) != 0;
}

ConfiguredState configured_as(MemberState state) {
    switch (state) {
        case in_sync: return ConfiguredState::in_sync;
        case adding: return ConfiguredState::adding;
        case offline: return ConfiguredState::offline;
        case spare: return ConfiguredState::spare;
        case lagging:
        case behind:
        case resyncing:
        case failed:
        case missing:
        case diverged:
        case removed: return ConfiguredState::behind;
    }
    return ConfiguredState::behind;
}

}  // namespace gemel::mirror
