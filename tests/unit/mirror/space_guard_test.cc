// SPDX-License-Identifier: Apache-2.0
//
// Space to bring a write home is there before it is acknowledged: asked of members by hand, and of
// a volume on a file system that fills up.
#include "mirror/space_guard.h"

#include "tests/unit/mirror/sequencer_world.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;
using blockdev::kMiB;

class SpaceGuardTest : public SequencerWorld {
protected:
    SpaceGuardTest() {
        const auto ignore = [](const MemberFailure&) {};
        flusher_.emplace(*world_.env, members_, *sequencer_, ignore);
        pacer_.emplace(*world_.env, members_, *sequencer_, *flusher_, ignore);
        guard_.emplace(*world_.env, members_, *sequencer_, *pacer_);
        world_.start(pacer_->run());
        turn();
    }
    Status admit(uint64_t blocks) { return world_.run(guard_->admit(0, blocks)); }
    void look_again() { world_.world.run_for(kSecond); }
    void TearDown() override {
        pacer_->stop();
        SequencerWorld::TearDown();
    }

    std::optional<Flusher> flusher_;
    std::optional<Pacer> pacer_;
    std::optional<SpaceGuard> guard_;
};

TEST_F(SpaceGuardTest, PlentyOfSpaceAdmitsEverything) {
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(guard_->admits(kMiB));
}

TEST_F(SpaceGuardTest, TheLeastSpaceOfAllMembersCounts) {
    b_.free = SpaceGuard::kReserveBytes;
    EXPECT_FALSE(guard_->admits(4096));
    b_.free = UINT64_MAX;
    a_.free = SpaceGuard::kReserveBytes;
    look_again();
    EXPECT_FALSE(guard_->admits(4096));
    a_.free = UINT64_MAX;
    look_again();
    EXPECT_TRUE(guard_->admits(4096));
}

// Home and, at worst, a checksum page for each block, on each member.
TEST_F(SpaceGuardTest, WhatIsOnItsWayHomeCountsInFull) {
    a_.free = b_.free = SpaceGuard::kReserveBytes + 2 * 2 * (3 * kMiB);
    EXPECT_TRUE(guard_->admits(3 * kMiB));
    EXPECT_FALSE(guard_->admits(3 * kMiB + 4096));
    a_.log_used = kMiB;
    EXPECT_TRUE(guard_->admits(2 * kMiB));
    EXPECT_FALSE(guard_->admits(2 * kMiB + 4096));
}

TEST_F(SpaceGuardTest, OverwritesPassWithoutSpace) {
    a_.free = b_.free = 0;
    EXPECT_FALSE(guard_->admits(4096));
    a_.allocated = b_.allocated = true;
    EXPECT_TRUE(admit(1).ok());
    b_.allocated = false;
    EXPECT_EQ(admit(1).error().code, Errc::no_space);
}

TEST_F(SpaceGuardTest, FirstTheLogsAreEmptied) {
    a_.answers_at_once = b_.answers_at_once = true;
    queue_write();
    turn();
    a_.log_used = b_.log_used = 8 * kMiB;
    a_.free = b_.free = SpaceGuard::kReserveBytes + 4 * kMiB;
    EXPECT_FALSE(guard_->admits(4096));
    EXPECT_TRUE(admit(1).ok());
    EXPECT_FALSE(a_.checkpoints.empty());
    EXPECT_EQ(a_.log_used, 0u);
    answered_ = a_.appends.size();
}

TEST_F(SpaceGuardTest, SpaceThatIsNotKnownIsNone) {
    a_.free = 0;
    EXPECT_FALSE(guard_->admits(4096));
    EXPECT_EQ(admit(1).error().code, Errc::no_space);
}

// --- On a file system that fills up

class FullVolumeTest : public ::testing::Test {
protected:
    static constexpr uint64_t kSize = 32 * kMiB;
    FullVolumeTest() {
        // Both members lie on it: logs, tables, and room for about half of the volume.
        space_.capacity_pages = (60 * kMiB) / kBlockSize;
        world_ =
            std::make_unique<VolumeWorld>(VolumeWorld::Options{.size = kSize, .space = &space_});
    }
    // Writes MiB after MiB until there is no space, and returns how many were taken.
    uint64_t fill_up() {
        uint64_t taken = 0;
        while (taken < kSize / kMiB) {
            const Status status = world_->fill(taken * kMiB, kMiB, static_cast<uint8_t>(taken + 1));
            if (!status.ok()) {
                EXPECT_EQ(status.error().code, Errc::no_space);
                break;
            }
            ++taken;
        }
        return taken;
    }
    void expect_all(uint64_t count) {
        for (uint64_t i = 0; i < count; ++i) {
            ASSERT_EQ(world_->value_of(i * kMiB, kMiB), static_cast<int>(i + 1)) << i;
        }
    }

    sim::FileSystem space_;
    std::unique_ptr<VolumeWorld> world_;
};

TEST_F(FullVolumeTest, NewWritesGetNoSpaceAndAcknowledgedOnesAreThere) {
    const uint64_t taken = fill_up();
    ASSERT_GT(taken, 4u);
    ASSERT_LT(taken, kSize / kMiB);
    EXPECT_EQ(world_->volume->report().state, "serving");
    expect_all(taken);
    EXPECT_TRUE(world_->flush().ok());
    EXPECT_TRUE(world_->drain().ok());
    expect_all(taken);
    world_->kill();
    world_->open();
    expect_all(taken);
}

TEST_F(FullVolumeTest, OverwritesGoOnWhenItIsFull) {
    const uint64_t taken = fill_up();
    ASSERT_GT(taken, 4u);
    for (int round = 0; round < 3; ++round) {
        for (uint64_t i = 0; i < taken; ++i) {
            ASSERT_TRUE(world_->fill(i * kMiB, kMiB, static_cast<uint8_t>(i + 1)).ok()) << i;
        }
    }
    ASSERT_TRUE(world_->drain().ok());
    expect_all(taken);
}

TEST_F(FullVolumeTest, ItGoesOnWhenSpaceIsBack) {
    const uint64_t taken = fill_up();
    ASSERT_LT(taken, kSize / kMiB);
    space_.capacity_pages = UINT64_MAX;
    world_->store.world.run_for(5 * kSecond);
    EXPECT_EQ(fill_up(), kSize / kMiB);
    EXPECT_FALSE(world_->volume->report().short_of_space);
    expect_all(kSize / kMiB);
}

TEST_F(FullVolumeTest, TrimmingMakesRoom) {
    const uint64_t taken = fill_up();
    ASSERT_LT(taken, kSize / kMiB);
    ASSERT_TRUE(world_->trim(0, (taken - 1) * kMiB).ok());
    ASSERT_TRUE(world_->drain().ok());
    world_->store.world.run_for(kSecond);
    EXPECT_TRUE(world_->fill(kSize - kMiB, kMiB, 99).ok());
    EXPECT_EQ(world_->value_of(kSize - kMiB, kMiB), 99);
}

// What is to be zeroed in place takes space at home as well, though the log hardly shows it.
TEST_F(FullVolumeTest, ZeroesThatKeepTheirSpaceAreOnlyTakenIfTheyFit) {
    uint64_t taken = 0;
    for (; taken < kSize / kMiB; ++taken) {
        const Status status = world_->zero(taken * kMiB, kMiB, {.keep_allocated = true});
        if (!status.ok()) {
            EXPECT_EQ(status.error().code, Errc::no_space);
            break;
        }
    }
    EXPECT_GT(taken, 4u);
    EXPECT_LT(taken, kSize / kMiB);
    // All that was acknowledged goes home.
    EXPECT_TRUE(world_->drain().ok());
    EXPECT_FALSE(world_->volume->report().short_of_space);
}

// Somebody else takes the space that was there when writes were acknowledged.
TEST_F(FullVolumeTest, SpaceTakenByOthersLosesNothing) {
    for (uint64_t i = 0; i < 2; ++i) {
        ASSERT_TRUE(world_->fill(i * kMiB, kMiB, static_cast<uint8_t>(i + 1)).ok());
    }
    const uint64_t before = space_.capacity_pages;
    space_.capacity_pages = space_.used_pages;
    EXPECT_EQ(world_->drain().error().code, Errc::no_space);
    EXPECT_TRUE(world_->volume->report().short_of_space);
    EXPECT_EQ(world_->fill(20 * kMiB, 4096, 1).error().code, Errc::no_space);
    expect_all(2);
    world_->kill();
    EXPECT_FALSE(world_->try_open().ok());
    space_.capacity_pages = before;
    world_->open();
    expect_all(2);
}

}  // namespace
}  // namespace gemel::mirror
