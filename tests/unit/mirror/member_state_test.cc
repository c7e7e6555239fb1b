// SPDX-License-Identifier: Apache-2.0
#include "mirror/member_state.h"

#include <gtest/gtest.h>

#include <set>

namespace gemel::mirror {
namespace {

using enum MemberState;

TEST(MemberState, EveryStateHasANameOfItsOwn) {
    std::set<std::string_view> names;
    for (size_t i = 0; i < kMemberStates; ++i) {
        const auto state = static_cast<MemberState>(i);
        names.insert(name(state));
        EXPECT_EQ(member_state_named(name(state)), state);
    }
    EXPECT_EQ(names.size(), kMemberStates);
    EXPECT_EQ(member_state_named("insync"), std::nullopt);
}

// What is trusted again was resynced first: no way back to in_sync but through that.
TEST(MemberState, OnlyAResyncLeadsToInSync) {
    for (size_t i = 0; i < kMemberStates; ++i) {
        const auto from = static_cast<MemberState>(i);
        const bool was_resynced = from == resyncing || from == adding || from == lagging;
        EXPECT_EQ(may_move(from, in_sync), was_resynced) << name(from);
    }
}

TEST(MemberState, ADivergedMemberWaitsForTheOperator) {
    EXPECT_FALSE(may_move(diverged, resyncing));
    EXPECT_TRUE(may_move(diverged, behind));
}

TEST(MemberState, WhatIsNotInSyncIsNotConfiguredAsInSync) {
    using blockdev::ConfiguredState;
    for (size_t i = 0; i < kMemberStates; ++i) {
        const auto state = static_cast<MemberState>(i);
        const bool counts = state == in_sync;
        EXPECT_EQ(configured_as(state) == ConfiguredState::in_sync, counts) << name(state);
    }
}

}  // namespace
}  // namespace gemel::mirror
