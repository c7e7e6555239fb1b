// SPDX-License-Identifier: Apache-2.0
//
// What a power loss, or the death of a process, may do to a simulated drive, and what not.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/sim/sim_harness.h"

namespace gemel::sim {
namespace {

constexpr uint64_t kSeeds = 400;
constexpr auto kOld = std::byte{0x11};
constexpr auto kNew = std::byte{0x22};

Task<void> finish_later(SimEnv& env, Block& block) {
    co_await sleep_for(env, kSecond);
    block.done = true;
}

void lose_power(Harness& harness) { harness.world.lose_power(0, {harness.drive}); }

TEST(PowerLoss, KeepsLosesAndTearsWhatWasNotSynced) {
    bool kept = false, lost = false, torn = false, torn_inside_a_page = false;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block before(0x11, 2), after(0x22, 2), flushed;
        ASSERT_TRUE(harness.run(write_block(*disk, 8192, before)));
        ASSERT_TRUE(harness.run(sync_disk(*disk, flushed)));
        ASSERT_TRUE(harness.run(write_block(*disk, 8192, after)));
        ASSERT_EQ(harness.platter_byte(8192), kNew);
        lose_power(harness);
        std::set<std::byte> seen, seen_in_first_page;
        for (uint64_t sector = 0; sector < 16; ++sector) {
            const std::byte first = harness.platter_byte(8192 + sector * kSectorSize);
            EXPECT_EQ(first, harness.platter_byte(8192 + sector * kSectorSize + 511));
            ASSERT_TRUE(first == kOld || first == kNew);
            seen.insert(first);
            if (sector < 8) seen_in_first_page.insert(first);
        }
        torn = torn || seen.size() == 2;
        torn_inside_a_page = torn_inside_a_page || seen_in_first_page.size() == 2;
        kept = kept || (seen.size() == 1 && *seen.begin() == kNew);
        lost = lost || (seen.size() == 1 && *seen.begin() == kOld);
    }
    EXPECT_TRUE(kept && lost && torn && torn_inside_a_page);
}

TEST(PowerLoss, NeverTouchesWhatWasSynced) {
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block first(0x22), second(0x33), flushed;
        ASSERT_TRUE(harness.run(write_block(*disk, 4096, first)));
        ASSERT_TRUE(harness.run(sync_disk(*disk, flushed)));
        ASSERT_TRUE(flushed.status.ok());
        ASSERT_TRUE(harness.run(write_block(*disk, 16384, second)));
        lose_power(harness);
        for (uint64_t at = 4096; at < 8192; at += kSectorSize) {
            ASSERT_EQ(harness.platter_byte(at), kNew) << "seed " << seed;
        }
    }
}

TEST(PowerLoss, ReordersWhatWasNotSynced) {
    bool newer_without_older = false;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block first(0x22), second(0x22);
        ASSERT_TRUE(harness.run(write_block(*disk, 0, first)));
        ASSERT_TRUE(harness.run(write_block(*disk, 4096, second)));
        lose_power(harness);
        newer_without_older = newer_without_older || (harness.platter_byte(0) != kNew &&
                                                      harness.platter_byte(4096) == kNew);
    }
    EXPECT_TRUE(newer_without_older);
}

TEST(PowerLoss, ASyncCoversOnlyWhatHadCompletedBeforeItsSubmission) {
    bool lost = false;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block data(0x22), flushed;
        harness.spawn(write_block(*disk, 0, data));
        harness.spawn(sync_disk(*disk, flushed));
        ASSERT_TRUE(harness.finish());
        lose_power(harness);
        lost = lost || harness.platter_byte(0) != kNew;
    }
    EXPECT_TRUE(lost);
}

TEST(PowerLoss, AFailedSyncMayDropWhatALaterSyncSeemsToCover) {
    bool lost = false;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block data(0x22), failed, flushed;
        ASSERT_TRUE(harness.run(write_block(*disk, 0, data)));
        harness.drive->faults.sync_error_rate = kCertain;
        ASSERT_TRUE(harness.run(sync_disk(*disk, failed)));
        EXPECT_FALSE(failed.status.ok());
        harness.drive->faults.sync_error_rate = 0;
        // Whoever was told fails for good; somebody else is told nothing.
        ASSERT_TRUE(harness.run(sync_disk(*disk, flushed)));
        EXPECT_FALSE(flushed.status.ok());
        auto other = harness.open();
        ASSERT_TRUE(harness.run(sync_disk(*other, flushed)));
        EXPECT_TRUE(flushed.status.ok());
        lose_power(harness);
        lost = lost || harness.platter_byte(0) != kNew;
    }
    EXPECT_TRUE(lost);
}

TEST(PowerLoss, DecidesAboutPunchesAndZeroesToo) {
    std::set<std::byte> seen;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block data(0x22, 4), flushed, cleared;
        ASSERT_TRUE(harness.run(write_block(*disk, 0, data)));
        ASSERT_TRUE(harness.run(sync_disk(*disk, flushed)));
        const IoKind kind = seed % 2 == 0 ? IoKind::punch : IoKind::zero;
        ASSERT_TRUE(harness.run(clear_range(*disk, kind, 0, 4 * kPageSize, cleared)));
        ASSERT_EQ(harness.platter_byte(0), std::byte{0});
        lose_power(harness);
        seen.insert(harness.platter_byte(0));
    }
    EXPECT_EQ(seen, (std::set<std::byte>{std::byte{0}, kNew}));
}

TEST(Kill, KeepsCompletedWritesAndLandsTheOthersWhollyPartlyOrNot) {
    std::set<size_t> landed;
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Harness harness(seed);
        auto* disk = harness.open().release();
        Block completed(0x22);
        auto* in_flight = new Block(0x22, 2);
        ASSERT_TRUE(harness.run(write_block(*disk, 0, completed)));
        harness.spawn(write_block(*disk, 8192, *in_flight));
        harness.world.kill(*harness.process);
        harness.settle();
        EXPECT_FALSE(in_flight->done);
        EXPECT_EQ(harness.drive->in_flight(), 0u);
        ASSERT_EQ(harness.platter_byte(0), kNew);
        size_t sectors = 0;
        for (uint64_t at = 8192; at < 16384; at += kSectorSize) {
            if (harness.platter_byte(at) == kNew) ++sectors;
        }
        landed.insert(sectors);
    }
    EXPECT_TRUE(landed.contains(0));
    EXPECT_TRUE(landed.contains(16));
    EXPECT_GT(landed.size(), 4u);
}

TEST(Kill, LeavesTheLockUntilTheLastRequestHasLanded) {
    Harness harness;
    auto* disk = harness.open().release();
    auto* in_flight = new Block(0x22);
    ASSERT_TRUE(disk->try_lock().ok());
    harness.spawn(write_block(*disk, 0, *in_flight));
    const ProcessId old = harness.process->this_process();
    harness.world.kill(*harness.process);
    harness.start();
    EXPECT_FALSE(harness.process->is_alive(old));
    auto again = harness.open();
    while (harness.drive->in_flight() != 0) {
        EXPECT_FALSE(again->try_lock().ok());
        ASSERT_TRUE(harness.world.step());
    }
    EXPECT_TRUE(again->try_lock().ok());
}

TEST(Kill, StopsTimersAndIgnoresWhatTheDeadProcessStillDoes) {
    Harness harness;
    auto* disk = harness.open().release();
    auto* data = new Block(0x22);
    SimEnv& dead = *harness.process;
    harness.world.watch([&](const Moment& moment) {
        if (moment.kind == MomentKind::submitting) harness.world.kill(dead);
    });
    harness.spawn(write_block(*disk, 0, *data));
    harness.spawn(finish_later(dead, *data));
    harness.settle();
    EXPECT_FALSE(data->done);
    EXPECT_EQ(harness.platter_byte(0), std::byte{0});
    EXPECT_FALSE(dead.replace_file("/file", data->bytes()).ok());
    EXPECT_TRUE(harness.world.files().empty());
}

TEST(Kill, FindsASmallFileOldOrNewAndNothingBetween) {
    for (const MomentKind kind : {MomentKind::replacing_file, MomentKind::replaced_file}) {
        Harness harness;
        Block old_bytes(1), new_bytes(2);
        ASSERT_TRUE(harness.process->replace_file("/file", old_bytes.bytes()).ok());
        harness.world.watch([&harness, kind](const Moment& moment) {
            if (moment.kind == kind) harness.world.kill(*harness.process);
        });
        (void)harness.process->replace_file("/file", new_bytes.bytes());
        harness.start();
        auto found = harness.process->read_file("/file", kPageSize);
        ASSERT_TRUE(found.ok());
        const int expected = kind == MomentKind::replacing_file ? 1 : 2;
        EXPECT_EQ(found.value()[100], static_cast<std::byte>(expected));
    }
}

}  // namespace
}  // namespace gemel::sim
