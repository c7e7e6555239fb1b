// SPDX-License-Identifier: Apache-2.0
#include "mirror/spares.h"

#include <gtest/gtest.h>

#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kNow = 1000 * kSecond;
constexpr uint64_t kLong = kNow - kSparePatience_ns;

SpareView regular(MemberState state, uint64_t lost_since_ns = 0) {
    SpareView view;
    view.state = state;
    view.lost_since_ns = lost_since_ns;
    return view;
}
SpareView spare(MemberState state, bool stands_in, uint64_t lost_since_ns = 0) {
    SpareView view = regular(state, lost_since_ns);
    view.is_spare = true;
    view.stands_in = stands_in;
    return view;
}
const SpareView kHere = regular(MemberState::in_sync);
const SpareView kIdle = spare(MemberState::spare, false);

SpareMove decide(std::initializer_list<SpareView> members) {
    const std::vector<SpareView> all(members);
    return next_spare_move(all, kNow);
}

// --- The decision

TEST(SpareMove, NothingIsToDoWhileAllAreHere) {
    const SpareMove move = decide({kHere, kHere, kIdle});
    EXPECT_FALSE(move.call_up || move.release);
    EXPECT_EQ(move.look_again_ns, UINT64_MAX);
}

TEST(SpareMove, AMemberThatIsAwayForAMomentIsWaitedFor) {
    const SpareMove move = decide({kHere, regular(MemberState::failed, kLong + 5), kIdle});
    EXPECT_FALSE(move.call_up || move.release);
    EXPECT_EQ(move.look_again_ns, kNow + 5);
}

TEST(SpareMove, OneSpareIsCalledUpForEachThatIsLost) {
    EXPECT_EQ(decide({kHere, regular(MemberState::missing, kLong), kIdle, kIdle}).call_up, 2u);
    EXPECT_FALSE(decide({kHere, regular(MemberState::missing, kLong),
                         spare(MemberState::adding, true), kIdle})
                     .call_up);
    EXPECT_EQ(decide({regular(MemberState::failed, kLong), regular(MemberState::missing, kLong),
                      spare(MemberState::in_sync, true), kIdle})
                  .call_up,
              3u);
}

TEST(SpareMove, WhoIsOfflineOnItsWayBackOrReplacedNeedsNoSpare) {
    EXPECT_FALSE(decide({kHere, regular(MemberState::offline), kIdle}).call_up);
    EXPECT_FALSE(decide({kHere, regular(MemberState::resyncing), kIdle}).call_up);
    SpareView replaced = regular(MemberState::missing, kLong);
    replaced.is_replaced = true;
    EXPECT_FALSE(decide({kHere, replaced, kIdle}).call_up);
}

TEST(SpareMove, ASpareThatIsNotThereIsNotCalledUp) {
    SpareView shut = kIdle;
    shut.is_ready = false;
    EXPECT_FALSE(decide({kHere, regular(MemberState::failed, kLong), shut}).call_up);
    EXPECT_FALSE(decide({kHere, regular(MemberState::failed, kLong),
                         spare(MemberState::missing, false, kLong)})
                     .call_up);
}

TEST(SpareMove, AnotherOneIsCalledUpForAStandInThatIsLostItself) {
    EXPECT_EQ(decide({kHere, regular(MemberState::failed, kLong),
                      spare(MemberState::failed, true, kLong), kIdle})
                  .call_up,
              3u);
}

TEST(SpareMove, ItIsReleasedWhenAllAreInSyncAgain) {
    EXPECT_EQ(decide({kHere, kHere, spare(MemberState::in_sync, true)}).release, 2u);
    EXPECT_FALSE(decide({kHere, regular(MemberState::resyncing), spare(MemberState::in_sync, true)})
                     .release);
}

// --- The whole

class SparesTest : public ::testing::Test {
protected:
    SparesTest() {
        world_.emplace(VolumeWorld::Options{.members = 2});
        const NewMemberOrder order{"/spare", false, true};
        EXPECT_TRUE(world().store.run(world().volume->add_member(order)).ok());
        wait_for([this] { return state(2) == "spare"; });
    }
    VolumeWorld& world() { return *world_; }
    MemberReport member(size_t index) { return world().volume->report().members[index]; }
    std::string state(size_t index) { return member(index).state; }
    template <typename Condition>
    void wait_for(Condition condition) {
        ASSERT_TRUE(
            world().store.world.run_until(condition, world().store.world.now_ns() + 600 * kSecond));
    }
    void lose_member_1() {
        world().drive(1).faults.dead = true;
        ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    }

    std::optional<VolumeWorld> world_;
};

TEST_F(SparesTest, ASpareTakesThePlaceOfOneThatIsLost) {
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    EXPECT_EQ(state(2), "spare");
    lose_member_1();
    world().store.world.run_for(kSparePatience_ns - kSecond);
    EXPECT_EQ(state(2), "spare");
    wait_for([this] { return state(2) == "in-sync"; });
    EXPECT_TRUE(member(2).is_spare);
    EXPECT_EQ(member(2).configured, "in-sync");
    // It is as good as any: alone it shows everything.
    ASSERT_FALSE(world().store.run(world().volume->take_offline(0)));
    EXPECT_EQ(world().value_of(4096, 4096), 6);
    EXPECT_EQ(world().value_of(8192, 4096), 5);
    ASSERT_FALSE(world().store.run(world().volume->bring_online(0)));
    wait_for([this] { return state(0) == "in-sync"; });
}

TEST_F(SparesTest, ItGoesBackWhenTheOtherReturns) {
    lose_member_1();
    wait_for([this] { return state(2) == "in-sync"; });
    world().drive(1).faults.dead = false;
    wait_for([this] { return state(1) == "in-sync" && state(2) == "spare"; });
    wait_for([this] { return member(2).configured == "spare"; });
    // And can be called up again.
    wait_for([this] { return !member(2).released; });
    lose_member_1();
    wait_for([this] { return state(2) == "in-sync"; });
    EXPECT_EQ(world().value_of(4096, 4096), 6);
}

TEST_F(SparesTest, ItStaysForGoodWhenTheLostOneIsRemoved) {
    lose_member_1();
    wait_for([this] { return state(2) == "in-sync"; });
    EXPECT_FALSE(world().store.run(world().volume->remove_member(1, false)));
    ASSERT_EQ(world().volume->report().members.size(), 2u);
    EXPECT_FALSE(member(1).is_spare);
    world().store.world.run_for(100 * kSecond);
    EXPECT_EQ(state(1), "in-sync");
}

TEST_F(SparesTest, WhoStandsInDoesSoAfterARestart) {
    lose_member_1();
    wait_for([this] { return state(2) == "in-sync"; });
    ASSERT_TRUE(world().fill(0, 4096, 9).ok());
    world().kill();
    world().drive(0).faults.dead = true;
    world().open();
    EXPECT_EQ(state(2), "in-sync");
    EXPECT_EQ(world().value_of(0, 4096), 9);
    world().drive(0).faults.dead = false;
}

TEST_F(SparesTest, AnIdleSpareIsStillOneAfterARestart) {
    world().kill();
    world().open();
    EXPECT_EQ(state(2), "spare");
    EXPECT_TRUE(member(2).is_spare);
    lose_member_1();
    wait_for([this] { return state(2) == "in-sync"; });
}

}  // namespace
}  // namespace gemel::mirror
