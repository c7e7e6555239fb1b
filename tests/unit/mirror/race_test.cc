// SPDX-License-Identifier: Apache-2.0
//
// Reads from members that are late, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/random.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

constexpr uint64_t kBlocks = (5 << 20) / kBlockSize;

// Drives without a queue that answer within 60 to 100 us, and a volume whose blocks are home: block
// n holds n % 250 + 1.
class RaceTest : public ::testing::Test {
protected:
    void make(size_t members = 2) {
        world_.emplace(VolumeWorld::Options{.members = members});
        for (size_t i = 0; i < members; ++i) make_fast(i);
        for (uint64_t block = 0; block < kBlocks; ++block) {
            ASSERT_TRUE(world().fill(block * kBlockSize, kBlockSize, value(block)).ok());
        }
        ASSERT_TRUE(world().drain().ok());
    }
    void make_fast(size_t member) { slow_down(member, 1); }
    void slow_down(size_t member, uint64_t times) {
        world().drive(member).latency = {.base_ns = times * 60 * kMicrosecond,
                                         .spread_ns = times * 40 * kMicrosecond,
                                         .page_ns = 0,
                                         .sync_ns = times * 200 * kMicrosecond,
                                         .slow_rate = 0,
                                         .two_step_rate = 0};
    }
    VolumeWorld& world() { return *world_; }
    uint64_t now() { return world().store.world.now_ns(); }
    VolumeReport report() { return world().volume->report(); }
    static uint8_t value(uint64_t block) { return static_cast<uint8_t>(block % 250 + 1); }

    // One read, and how long it took.
    uint64_t read_takes(uint64_t block) {
        const uint64_t began = now();
        EXPECT_EQ(world().value_of(block * kBlockSize, kBlockSize), value(block));
        return now() - began;
    }
    // So many readers for so long; how long each read took, in ascending order.
    std::vector<uint64_t> read_for(uint64_t duration_ns, size_t depth) {
        latencies_.clear();
        until_ns_ = now() + duration_ns;
        for (size_t i = 0; i < depth; ++i) world().store.start(reader());
        EXPECT_TRUE(world().store.finish());
        std::sort(latencies_.begin(), latencies_.end());
        return latencies_;
    }
    uint64_t read_by(size_t member) { return report().members[member].blocks_read; }

    std::optional<VolumeWorld> world_;

private:
    Task<void> reader() {
        const AlignedBytes data = allocate_aligned(kBlockSize);
        while (now() < until_ns_) {
            const uint64_t block = random_.below(kBlocks);
            std::memset(data.get(), 0, kBlockSize);
            const uint64_t began = now();
            const Status status =
                co_await world().volume->read(block * kBlockSize, {data.get(), kBlockSize});
            EXPECT_TRUE(status.ok());
            EXPECT_EQ(std::to_integer<uint8_t>(data.get()[4095]), value(block));
            latencies_.push_back(now() - began);
        }
    }
    sim::Random random_{7};
    std::vector<uint64_t> latencies_;
    uint64_t until_ns_ = 0;
};

uint64_t per_mille(const std::vector<uint64_t>& sorted, uint64_t quantile) {
    return sorted[(sorted.size() - 1) * quantile / 1000];
}

TEST_F(RaceTest, AMemberThatHangsDelaysAReadByMilliseconds) {
    make();
    static_cast<void>(read_for(100 * kMillisecond, 4));
    world().drive(0).faults.hung = true;
    for (uint64_t i = 0; i < 20; ++i) EXPECT_LE(read_takes(i), 5 * kMillisecond);
    EXPECT_GE(report().reads_raced, 1u);
    // Nobody waits for what it was asked, and nobody asks it more.
    EXPECT_LE(report().reads_raced, 4u);
    EXPECT_EQ(report().races_won, report().reads_raced);
    world().drive(0).release();
    ASSERT_TRUE(world().close().ok());
}

TEST_F(RaceTest, ManyReadersOfAMemberThatHangsAreAllServed) {
    make();
    static_cast<void>(read_for(100 * kMillisecond, 64));
    world().drive(1).faults.hung = true;
    const std::vector<uint64_t> latencies = read_for(500 * kMillisecond, 64);
    EXPECT_LE(latencies.back(), 50 * kMillisecond);
    EXPECT_LE(report().reads_raced, 64u + 16u);
    world().drive(1).release();
}

TEST_F(RaceTest, OneMemberAHundredTimesSlowerIsHardlyFelt) {
    for (const size_t depth : {1u, 8u}) {
        make();
        const std::vector<uint64_t> healthy = read_for(kSecond, depth);
        slow_down(1, 100);
        const std::vector<uint64_t> beside = read_for(4 * kSecond, depth);
        EXPECT_LE(per_mille(beside, 999), 5 * per_mille(healthy, 999)) << depth;
        EXPECT_LE(beside.back(), 50 * per_mille(healthy, 999)) << depth;
        // It is asked now and then nevertheless, and is known again when it has recovered.
        EXPECT_GE(report().probes, 10u);
        EXPECT_LE(report().probes, 20u);
        make_fast(1);
        static_cast<void>(read_for(5 * kSecond, depth));
        const uint64_t before = read_by(1);
        const std::vector<uint64_t> after = read_for(kSecond, depth);
        EXPECT_GE(read_by(1) - before, after.size() / 3) << depth;
        EXPECT_LE(per_mille(after, 999), 2 * per_mille(healthy, 999));
    }
}

TEST_F(RaceTest, WhenAllAreSlowNobodyIsAskedTwice) {
    make();
    slow_down(0, 100);
    slow_down(1, 100);
    static_cast<void>(read_for(2 * kSecond, 8));
    const uint64_t raced = report().reads_raced;
    EXPECT_LE(raced, 100u);  // Until that was known,
    static_cast<void>(read_for(5 * kSecond, 8));
    EXPECT_EQ(report().reads_raced, raced);  // and never again.
}

TEST_F(RaceTest, TheBoundOfSecondReadsHoldsWhenBothHang) {
    make();
    world().drive(0).faults.hung = true;
    world().drive(1).faults.hung = true;
    const AlignedBytes data = allocate_aligned(kBlockSize);
    const auto read_one = [&](uint64_t block) {
        return world().volume->read(block * kBlockSize, {data.get(), kBlockSize});
    };
    struct Ignore {
        static Task<void> result(Task<Status> task) { static_cast<void>(co_await std::move(task)); }
    };
    for (uint64_t i = 0; i < 100; ++i) world().store.start(Ignore::result(read_one(i)));
    world().store.world.run_for(400 * kMillisecond);
    EXPECT_EQ(report().reads_raced, ReadLimits{}.races_max);
    world().drive(0).release();
    world().drive(1).release();
    ASSERT_TRUE(world().store.finish());
}

// The late answer is that of another time, and its memory is nobody's.
TEST_F(RaceTest, TheLosersAnswerGoesNowhere) {
    make();
    world().drive(0).faults.hung = true;
    const AlignedBytes data = allocate_aligned(kBlockSize);
    for (uint64_t block = 0; block < 2; ++block) {
        ASSERT_TRUE(
            world()
                .store.run(world().volume->read(block * kBlockSize, {data.get(), kBlockSize}))
                .ok());
    }
    ASSERT_GE(report().reads_raced, 1u);
    std::memset(data.get(), 0xcc, kBlockSize);
    world().drive(0).release();
    world().store.world.run_for(100 * kMillisecond);
    for (size_t i = 0; i < kBlockSize; ++i) ASSERT_EQ(data.get()[i], std::byte{0xcc});
}

TEST_F(RaceTest, WhatTheLoserFindsBesideALaterWriteIsNoDamage) {
    make();
    slow_down(0, 1000);
    uint64_t block = 0;
    while (report().reads_raced == 0) static_cast<void>(read_takes(block++));
    --block;
    make_fast(0);  // What is under way still takes its time.
    ASSERT_TRUE(world().fill(block * kBlockSize, kBlockSize, 251).ok());
    ASSERT_TRUE(world().drain().ok());
    world().store.world.run_for(kSecond);
    EXPECT_EQ(report().members[0].mismatches, 0u);
    EXPECT_EQ(world().value_of(block * kBlockSize, kBlockSize), 251);
}

TEST_F(RaceTest, WhereTheSecondHasNoGoodCopyTheFirstOneIsWaitedFor) {
    make();
    for (size_t damaged = 0; damaged < 2; ++damaged) {
        world().damage_home(damaged, 7);
        slow_down(1 - damaged, 100);
        for (int i = 0; i < 4; ++i) EXPECT_LE(read_takes(7), 60 * kMillisecond);
        world().store.world.run_for(kSecond);
        EXPECT_EQ(report().members[damaged].blocks_healed, 1u);
        make_fast(1 - damaged);
        static_cast<void>(read_for(5 * kSecond, 1));
    }
    EXPECT_EQ(report().unrecoverable_blocks, 0u);
}

TEST_F(RaceTest, LargeReadsAreRacedPieceByPiece) {
    make(3);
    world().drive(2).faults.hung = true;
    for (int i = 0; i < 4; ++i) {
        const uint64_t began = now();
        const auto data = world().read(0, 4 << 20);
        ASSERT_TRUE(data.ok());
        EXPECT_LE(now() - began, 20 * kMillisecond);
        for (uint64_t block = 0; block < (4 << 20) / kBlockSize; ++block) {
            ASSERT_EQ(std::to_integer<uint8_t>(data.value()[block * kBlockSize]), value(block));
        }
    }
    world().drive(2).release();
}

}  // namespace
}  // namespace gemel::mirror
