// SPDX-License-Identifier: Apache-2.0
//
// Members that come back: brought up to date while the volume serves.
#include <gtest/gtest.h>

#include <random>

#include "blockdev/superblock.h"
#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kBlock = blockdev::kBlockSize;
constexpr uint64_t kPage = blockdev::kPageBlocks * kBlock;

Task<void> write_for_nobody(Volume& volume, const std::byte* data) {
    static_cast<void>(co_await volume.write(4096, {data, kBlock}, {}));
}

AlignedBytes tagged() { return blockdev::tagged_blocks(77, 1); }

class RejoinTest : public ::testing::Test {
protected:
    void make(VolumeWorld::Options options = {}) { world_.emplace(options); }
    VolumeWorld& world() { return *world_; }
    std::string state(size_t member) { return world().volume->report().members[member].state; }

    void take_offline(size_t member) {
        const auto problem = world().store.run(world().volume->take_offline(member));
        ASSERT_FALSE(problem) << problem->text;
        wait_for([this, member] { return state(member) == "offline"; });
        world().store.world.run_for(kSecond);
    }
    void bring_online(size_t member) {
        const auto problem = world().store.run(world().volume->bring_online(member));
        ASSERT_FALSE(problem) << problem->text;
    }
    template <typename Condition>
    void wait_for(Condition condition) {
        ASSERT_TRUE(
            world().store.world.run_until(condition, world().store.world.now_ns() + 600 * kSecond));
    }
    void wait_in_sync(size_t member) {
        wait_for([this, member] { return state(member) == "in-sync"; });
    }
    // Whether each member by itself holds what the volume shows. Closes the volume.
    void expect_members_alike(uint64_t size = 5 << 20) {
        const auto shown = world().read(0, size);
        ASSERT_TRUE(shown.ok());
        ASSERT_TRUE(world().close().ok());
        for (size_t i = 0; i < world().description.members.size(); ++i) {
            const auto home = world().store.platter(world().path(i), world().home(i, 0), size);
            for (uint64_t at = 0; at < size; at += kBlock) {
                ASSERT_EQ(std::memcmp(home.data() + at, shown.value().data() + at, kBlock), 0)
                    << "member " << i << " block " << at / kBlock;
            }
        }
        world().open();
    }
    // Writes to that many pages while member 1 is out.
    void fall_behind(uint64_t pages) {
        make({.size = pages * kPage});
        take_offline(1);
        for (uint64_t page = 0; page < pages; ++page) {
            ASSERT_TRUE(world().fill(page * kPage, kBlock, 6).ok());
        }
        ASSERT_TRUE(world().drain().ok());
    }
    // How often superblock A of member 1 is written until it is in sync.
    uint64_t records_until_in_sync() {
        uint64_t records = 0;
        sim::Drive* drive = &world().drive(1);
        world().store.world.watch([&records, drive](const sim::Moment& moment) {
            const bool written = moment.kind == sim::MomentKind::completing &&
                                 moment.io == IoKind::write && moment.offset == 0;
            if (moment.drive == drive && written) ++records;
        });
        bring_online(1);
        wait_in_sync(1);
        world().store.world.watch(nullptr);
        return records;
    }
    ResyncReport report() { return world().volume->report().resync; }

    std::optional<VolumeWorld> world_;
};

TEST_F(RejoinTest, AMemberThatWasOfflineGetsWhatItMissed) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(4096, 8192, 6).ok());
    ASSERT_TRUE(world().fill(3 << 20, 4096, 7).ok());
    ASSERT_TRUE(world().drain().ok());
    bring_online(1);
    wait_in_sync(1);
    EXPECT_EQ(report().blocks_copied, 3u);
    EXPECT_EQ(report().pages, 2u);
    expect_members_alike();
}

TEST_F(RejoinTest, WhatIsOnlyInTheLogOfTheOthersIsFoundToo) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    take_offline(0);
    ASSERT_TRUE(world().fill(4096, 8192, 6).ok());
    bring_online(0);
    wait_in_sync(0);
    EXPECT_EQ(report().blocks_copied, 2u);
    expect_members_alike();
}

TEST_F(RejoinTest, ZeroesAreMarkedNotCopied) {
    make();
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().trim(0, 2 << 20).ok());
    ASSERT_TRUE(world().zero((2 << 20) + 8192, 8192).ok());
    bring_online(1);
    wait_in_sync(1);
    EXPECT_EQ(report().blocks_copied, 0u);
    EXPECT_EQ(report().blocks_zeroed, 512u + 2u);
    expect_members_alike();
}

TEST_F(RejoinTest, AMemberThatFailedAndWorksAgainReturnsByItself) {
    make();
    ASSERT_TRUE(world().fill(0, 64 << 10, 5).ok());
    world().drive(1).faults.write_error_rate = sim::kCertain;
    ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    EXPECT_EQ(state(1), "failed");
    wait_for([this] { return state(1) == "missing"; });
    ASSERT_TRUE(world().fill(8192, 4096, 7).ok());
    world().drive(1).faults.write_error_rate = 0;
    wait_in_sync(1);
    EXPECT_EQ(world().volume->report().members[1].why, "");
    expect_members_alike();
}

TEST_F(RejoinTest, AMemberThatHungReturnsOnceItHasAnsweredEverything) {
    make();
    ASSERT_TRUE(world().fill(0, 64 << 10, 5).ok());
    world().drive(1).faults.hung = true;
    ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    world().store.world.run_for(30 * kSecond);
    EXPECT_EQ(state(1), "failed");
    world().drive(1).release();
    wait_in_sync(1);
    expect_members_alike();
}

TEST_F(RejoinTest, TheMemberGetsNewWritesWhileItIsBroughtUpToDate) {
    make();
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(0, 4 << 20, 6).ok());
    ASSERT_TRUE(world().drain().ok());
    bring_online(1);
    std::mt19937 random(7);
    size_t written = 0;
    while (state(1) != "in-sync") {
        const uint64_t block = random() % 1024;
        ASSERT_TRUE(world().fill(block * kBlock, kBlock, static_cast<uint8_t>(random())).ok());
        if (++written % 50 == 0) {
            ASSERT_TRUE(world().trim((random() % 1000) * kBlock, 65536).ok());
        }
        ASSERT_LT(written, 100000u);
    }
    EXPECT_GT(written, 20u);
    expect_members_alike();
}

TEST_F(RejoinTest, OfTheOnlyMemberInSyncNobodyTakesAway) {
    make();
    take_offline(1);
    const auto problem = world().store.run(world().volume->take_offline(0));
    ASSERT_TRUE(problem);
    EXPECT_NE(problem->text.find("only member in sync"), std::string::npos);
    EXPECT_EQ(state(0), "in-sync");
}

TEST_F(RejoinTest, OfflineOutlivesARestartAndIsNotTouched) {
    make();
    ASSERT_TRUE(world().fill(0, 4096, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().close().ok());
    world().open();
    EXPECT_EQ(state(1), "offline");
    world().store.world.run_for(100 * kSecond);
    EXPECT_EQ(state(1), "offline");
    ASSERT_TRUE(world().fill(0, 4096, 6).ok());
    bring_online(1);
    wait_in_sync(1);
    expect_members_alike();
}

TEST_F(RejoinTest, AStaleMemberFoundAtOpenIsBroughtUpToDate) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    world().drive(0).faults.write_error_rate = sim::kCertain;
    ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    ASSERT_TRUE(world().close().ok());
    world().drive(0).faults.write_error_rate = 0;
    world().open();
    wait_in_sync(0);
    expect_members_alike();
}

// The writes of a log's tail that the others never got are undone. Whether they got them is up to
// the power loss.
TEST_F(RejoinTest, AVoidedTailIsReplaced) {
    size_t voided = 0;
    for (uint64_t seed = 1; seed < 12; ++seed) {
        make({.seed = seed});
        ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
        ASSERT_TRUE(world().drain().ok());
        world().drive(0).faults.hung = true;  // Only member 1 logs the next write.
        const AlignedBytes data = tagged();
        world().store.start(write_for_nobody(*world().volume, data.get()));
        world().store.world.run_for(100 * kMillisecond);
        world().lose_power();
        world().drive(0).faults.hung = false;
        // Without member 1 the write never was.
        world().drive(1).faults.read_error_rate = sim::kCertain;
        OpenOptions force;
        force.force = true;
        world().open(force);
        EXPECT_EQ(state(1), "missing");
        const int value = world().value_of(4096, 4096);
        voided += value == 5 ? 1 : 0;
        ASSERT_TRUE(world().fill(8192, 4096, 9).ok());
        world().drive(1).faults.read_error_rate = 0;
        wait_in_sync(1);
        EXPECT_EQ(world().value_of(4096, 4096), value);
        expect_members_alike();
    }
    EXPECT_GT(voided, 0u);
}

TEST_F(RejoinTest, AMemberWhoseTablesAreGoneIsMadeAnew) {
    make();
    ASSERT_TRUE(world().fill(0, 2 << 20, 5).ok());
    ASSERT_TRUE(world().drain().ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(0, 4096, 6).ok());
    blockdev::Superblock superblock;
    const auto bytes = world().store.platter(world().path(1), 0, blockdev::kSuperblockSize);
    std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
    const uint64_t from = superblock.geometry.root_offset;
    const uint64_t length = superblock.geometry.superblock_b_offset - from;
    world().drive(1).platter().tamper(from, std::vector<std::byte>(length, std::byte{0x5a}));
    bring_online(1);
    wait_in_sync(1);
    EXPECT_GE(report().blocks_copied, 512u);
    expect_members_alike();
}

TEST_F(RejoinTest, ABadBlockAtTheSourceTravelsAsUnrecoverable) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(0, 16 << 10, 6).ok());
    ASSERT_TRUE(world().drain().ok());
    world().damage_home(0, 2);
    bring_online(1);
    wait_in_sync(1);
    EXPECT_EQ(report().blocks_unrecoverable, 1u);
    // Not the older content, on whichever member.
    for (int i = 0; i < 4; ++i) EXPECT_EQ(world().value_of(8192, 4096), -2);
    EXPECT_EQ(world().value_of(0, 8192), 6);
    ASSERT_TRUE(world().fill(8192, 4096, 7).ok());
    expect_members_alike();
}

TEST_F(RejoinTest, WithThreeMembersABadSourceBlockComesFromAnotherOne) {
    make({.members = 3});
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(0, 1 << 20, 6).ok());
    ASSERT_TRUE(world().drain().ok());
    world().damage_home(0, 2);
    world().damage_home(2, 3);
    bring_online(1);
    wait_in_sync(1);
    EXPECT_EQ(report().blocks_unrecoverable, 0u);
    EXPECT_EQ(world().value_of(0, 1 << 20), 6);
    world().store.world.run_for(10 * kSecond);
    expect_members_alike();
}

// A page that was changed and changed back in between is as old as before on the member that
// returned first; as a source it must still show the other one that something happened.
TEST_F(RejoinTest, AMemberThatReturnedIsAGoodSourceForTheNext) {
    make({.members = 3});
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    ASSERT_TRUE(world().drain().ok());
    take_offline(1);
    ASSERT_TRUE(world().fill(0, 4096, 6).ok());
    ASSERT_TRUE(world().drain().ok());
    take_offline(2);
    ASSERT_TRUE(world().fill(0, 4096, 5).ok());
    ASSERT_TRUE(world().drain().ok());
    bring_online(1);
    wait_in_sync(1);
    take_offline(0);
    bring_online(2);
    wait_in_sync(2);
    EXPECT_EQ(world().value_of(0, 4096), 5);
    bring_online(0);
    wait_in_sync(0);
    expect_members_alike();
}

TEST_F(RejoinTest, ACrashInTheMiddleOfAResyncLosesNothing) {
    size_t times = 0;  // In turns the process is killed, and the power fails.
    for (uint64_t after_us = 200; after_us < 40000; after_us += 1700) {
        make({.seed = after_us});
        ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
        take_offline(1);
        ASSERT_TRUE(world().fill(0, 2 << 20, 6).ok());
        bring_online(1);
        world().store.world.run_for(after_us * kMicrosecond);
        if (++times % 2 == 0) {
            world().kill();
        } else {
            world().lose_power();
        }
        world().open();
        EXPECT_EQ(world().value_of(0, 4096), 6);
        wait_in_sync(1);
        EXPECT_EQ(world().value_of(0, 2 << 20), 6);
        EXPECT_EQ(world().value_of(2 << 20, 2 << 20), 5);
        expect_members_alike();
    }
}

// The end of one and the announcement of the next are one superblock: each costs flushes.
TEST_F(RejoinTest, AWindowCostsOneRecord) {
    fall_behind(Resync::kWindowPages);
    const uint64_t one = records_until_in_sync();
    fall_behind(3 * Resync::kWindowPages);
    EXPECT_EQ(records_until_in_sync(), one + 2);
}

TEST_F(RejoinTest, AnInterruptionCostsNoWindowThatIsDone) {
    fall_behind(3 * Resync::kWindowPages);
    bring_online(1);
    wait_for([this] { return report().pages_done > Resync::kWindowPages; });
    world().kill();
    blockdev::Superblock superblock;
    world().drive(1).platter().read(0, writable_bytes_of(superblock));
    EXPECT_EQ(superblock.resync.cursor_page, Resync::kWindowPages);
    EXPECT_EQ(superblock.resync.window_begin, Resync::kWindowPages);
    EXPECT_EQ(superblock.resync.window_end, 2 * Resync::kWindowPages);
    world().open();
    wait_in_sync(1);
    EXPECT_EQ(report().pages, 2 * Resync::kWindowPages);
    expect_members_alike();
}

// Whatever it is doing then. Its log is behind that of the other one, so that the last of it is to
// wait for that. It has left the moment it fails, since the configuration never counted it.
TEST_F(RejoinTest, AMemberThatFailsWhileItReturnsReturnsLater) {
    size_t failed = 0;
    for (uint64_t after_us = 1000; after_us < 200'000; after_us += 1700) {
        make({.seed = after_us});
        world().drive(1).latency.base_ns = 3 * kMillisecond;
        ASSERT_TRUE(world().fill(0, 64 << 10, 5).ok());
        take_offline(1);
        ASSERT_TRUE(world().fill(0, 64 << 10, 6).ok());
        bring_online(1);
        const AlignedBytes data = tagged();
        const uint64_t until = world().store.world.now_ns() + after_us * kMicrosecond;
        while (world().store.world.now_ns() < until) {
            world().store.start(write_for_nobody(*world().volume, data.get()));
            world().store.world.run_for(200 * kMicrosecond);
        }
        if (state(1) == "in-sync") break;
        (++failed % 2 == 0 ? world().drive(1).faults.hung : world().drive(1).faults.dead) = true;
        world().store.world.run_for(2 * WatchLimits{}.flush_ns);
        ASSERT_NE(state(1), "in-sync");
        ASSERT_TRUE(world().fill(8192, 4096, 7).ok());
        world().drive(1).release();
        world().drive(1).faults.dead = false;
        wait_in_sync(1);
        ASSERT_TRUE(world().store.finish());
        expect_members_alike();
    }
    EXPECT_GT(failed, 20u);
}

// Nobody counts on it: neither the other members that return, nor who closes the volume.
TEST_F(RejoinTest, ADeviceThatHangsWhileItIsReopenedHoldsUpNobody) {
    make({.members = 3});
    ASSERT_TRUE(world().fill(0, 64 << 10, 5).ok());
    world().drive(1).faults.dead = true;
    ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    ASSERT_EQ(state(1), "failed");
    world().drive(1).faults.dead = false;
    world().drive(1).faults.hung = true;
    world().store.world.run_for(100 * kSecond);
    EXPECT_NE(state(1), "in-sync");
    take_offline(2);
    ASSERT_TRUE(world().fill(8192, 4096, 7).ok());
    bring_online(2);
    wait_in_sync(2);
    const uint64_t began = world().store.world.now_ns();
    EXPECT_TRUE(world().close(5 * kSecond).ok());
    EXPECT_LE(world().store.world.now_ns() - began, 10 * kSecond);
    world().store.world.kill(*world().store.env);  // What still hangs keeps all it may come to.
    world().drive(1).release();
    world().store.restart();
    world().open();
    wait_in_sync(1);
    expect_members_alike();
}

TEST_F(RejoinTest, AMemberWhoseReopeningHungReturnsOnceItHasAnswered) {
    make();
    ASSERT_TRUE(world().fill(0, 64 << 10, 5).ok());
    world().drive(1).faults.dead = true;
    ASSERT_TRUE(world().fill(4096, 4096, 6).ok());
    world().drive(1).faults.dead = false;
    world().drive(1).faults.hung = true;
    world().store.world.run_for(100 * kSecond);
    world().drive(1).release();
    wait_in_sync(1);
    expect_members_alike();
}

TEST_F(RejoinTest, TheResyncSurvivesTheFailureOfItsSource) {
    make({.members = 3});
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    take_offline(2);
    ASSERT_TRUE(world().fill(0, 4 << 20, 6).ok());
    ASSERT_TRUE(world().drain().ok());
    bring_online(2);
    wait_for([this] { return report().pages_done > 0 || state(2) == "in-sync"; });
    world().drive(0).faults.read_error_rate = sim::kCertain;
    world().drive(0).faults.write_error_rate = sim::kCertain;
    ASSERT_TRUE(world().fill(0, 4096, 7).ok());
    wait_in_sync(2);
    world().drive(0).faults.read_error_rate = 0;
    world().drive(0).faults.write_error_rate = 0;
    wait_in_sync(0);
    expect_members_alike();
}

}  // namespace
}  // namespace gemel::mirror
