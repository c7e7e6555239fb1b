// SPDX-License-Identifier: Apache-2.0
//
// Members that are too slow to be waited for, in virtual time.
#include <gtest/gtest.h>

#include <algorithm>

#include "mirror/configuration.h"
#include "tests/sim/random.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

// Clients that write all the time, over a volume on drives that answer within 60 to 100 us.
class LaggingTest : public ::testing::Test {
protected:
    void make(size_t members = 2, uint64_t seed = 1) {
        world_.emplace(
            VolumeWorld::Options{.seed = seed, .members = members, .log_size = 64 << 20});
        for (size_t i = 0; i < members; ++i) slow_down(i, 1);
    }
    void slow_down(size_t member, uint64_t times) {
        world().drive(member).latency = {.base_ns = times * 60 * kMicrosecond,
                                         .spread_ns = times * 40 * kMicrosecond,
                                         .page_ns = 0,
                                         .sync_ns = times * 200 * kMicrosecond,
                                         .slow_rate = 0};
    }
    VolumeWorld& world() { return *world_; }
    uint64_t now() { return world().store.world.now_ns(); }
    std::string state(size_t member) { return world().volume->report().members[member].state; }
    std::string why(size_t member) { return world().volume->report().members[member].why; }

    // So many writers for so long; how long each write took, in the order in which they ended.
    std::vector<uint64_t> write_for(uint64_t duration_ns, size_t depth, uint32_t flushes = 0) {
        latencies_.clear();
        until_ns_ = now() + duration_ns;
        for (size_t i = 0; i < depth; ++i) world().store.start(writer(flushes));
        EXPECT_TRUE(world().store.finish());
        return latencies_;
    }
    void wait_for_state(size_t member, const std::string& wanted, uint64_t limit_ns) {
        const auto there = [this, member, &wanted] { return state(member) == wanted; };
        ASSERT_TRUE(world().store.world.run_until(there, now() + limit_ns)) << state(member);
    }
    bool in_sync_at_witness(size_t member) {
        const auto witness = read_witness(*world().store.env, "/witness", world().description.uuid);
        CHECK(witness.ok() && witness.value().configuration);
        return witness.value().configuration->members[member].state ==
               static_cast<uint32_t>(blockdev::ConfiguredState::in_sync);
    }
    // Whether each member by itself holds what the volume shows. Closes the volume.
    void expect_members_alike() {
        const uint64_t size = 5 << 20;
        const auto shown = world().read(0, size);
        ASSERT_TRUE(shown.ok());
        ASSERT_TRUE(world().close().ok());
        for (size_t i = 0; i < world().description.members.size(); ++i) {
            const auto home = world().store.platter(world().path(i), world().home(i, 0), size);
            ASSERT_EQ(std::memcmp(home.data(), shown.value().data(), size), 0) << "member " << i;
        }
        world().open();
    }

    Task<void> write_until_it_leaves() {
        const AlignedBytes data = allocate_zeroed(kBlockSize);
        Status status;
        while (status.ok() && !leaving_) {
            status = co_await world().volume->write(0, {data.get(), kBlockSize}, {});
        }
    }

    std::optional<VolumeWorld> world_;
    bool leaving_ = false;

private:
    Task<void> writer(uint32_t flushes) {
        const AlignedBytes data = allocate_aligned(kBlockSize);
        while (now() < until_ns_) {
            std::memset(data.get(), static_cast<int>(random_.below(256)), kBlockSize);
            const uint64_t block = random_.below((5 << 20) / kBlockSize);
            co_await sleep_for(*world().store.env, random_.below(2 * kMillisecond));
            const uint64_t began = now();
            Status status =
                co_await world().volume->write(block * kBlockSize, {data.get(), kBlockSize}, {});
            EXPECT_TRUE(status.ok());
            latencies_.push_back(now() - began);
            if (!random_.chance(flushes)) continue;
            status = co_await world().volume->flush();
            EXPECT_TRUE(status.ok());
            latencies_.push_back(now() - began);
        }
    }
    sim::Random random_{11};
    std::vector<uint64_t> latencies_;
    uint64_t until_ns_ = 0;
};

TEST_F(LaggingTest, WritesRecoverWithinTwoSeconds) {
    for (const size_t depth : {1u, 8u}) {
        for (const uint32_t flushes : {0u, 100'000u}) {
            make();
            const std::vector<uint64_t> healthy = write_for(kSecond, depth, flushes);
            const uint64_t usual = *std::max_element(healthy.begin(), healthy.end());
            slow_down(1, 100);
            static_cast<void>(write_for(2 * kSecond, depth, flushes));
            // With many writers it may be too slow to keep up at all.
            EXPECT_NE(state(1), "in-sync");
            EXPECT_FALSE(in_sync_at_witness(1));
            if (depth == 1) {
                EXPECT_EQ(state(1), "lagging");
                EXPECT_NE(why(1).find("far slower than the others"), std::string::npos) << why(1);
            }
            const std::vector<uint64_t> after = write_for(kSecond, depth, flushes);
            EXPECT_LE(*std::max_element(after.begin(), after.end()), 2 * usual) << depth;
        }
    }
}

TEST_F(LaggingTest, AMemberThatHasRecoveredComesBackWithoutAResync) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(2 * kSecond, 2));
    ASSERT_EQ(state(1), "lagging");
    slow_down(1, 1);
    static_cast<void>(write_for(3 * kSecond, 2));
    EXPECT_EQ(state(1), "lagging");  // Not at once.
    static_cast<void>(write_for(10 * kSecond, 2));
    EXPECT_EQ(state(1), "in-sync");
    EXPECT_TRUE(in_sync_at_witness(1));
    EXPECT_EQ(why(1), "");
    EXPECT_EQ(world().volume->report().resync.pages, 0u);
    expect_members_alike();
}

TEST_F(LaggingTest, AnIdleVolumeGetsItBackToo) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(2 * kSecond, 2));
    ASSERT_EQ(state(1), "lagging");
    slow_down(1, 1);
    wait_for_state(1, "in-sync", 20 * kSecond);
    expect_members_alike();
}

TEST_F(LaggingTest, OneThatStaysSlowIsTriedLessAndLessOften) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(3 * kSecond, 1));
    size_t returns = 0;
    bool was_in_sync = false;
    for (int i = 0; i < 1200; ++i) {  // Idle, but for a write now and then.
        static_cast<void>(write_for(kMillisecond, 1));
        world().store.world.run_for(250 * kMillisecond);
        const bool in_sync = state(1) == "in-sync";
        returns += in_sync && !was_in_sync ? 1 : 0;
        was_in_sync = in_sync;
    }
    EXPECT_LE(returns, 6u);
}

TEST_F(LaggingTest, WhereAllAreSlowNobodyLeaves) {
    make();
    slow_down(0, 100);
    slow_down(1, 100);
    static_cast<void>(write_for(10 * kSecond, 4));
    EXPECT_EQ(state(0), "in-sync");
    EXPECT_EQ(state(1), "in-sync");
}

TEST_F(LaggingTest, TheLastOneInSyncIsWaitedForHoweverSlowItIs) {
    make();
    ASSERT_FALSE(world().store.run(world().volume->take_offline(1)));
    slow_down(0, 100);
    static_cast<void>(write_for(10 * kSecond, 4));
    EXPECT_EQ(state(0), "in-sync");
}

TEST_F(LaggingTest, OfThreeTwoMayLag) {
    make(3);
    slow_down(0, 100);
    slow_down(2, 80);
    static_cast<void>(write_for(2 * kSecond, 4));
    EXPECT_EQ(state(0), "lagging");
    EXPECT_EQ(state(1), "in-sync");
    EXPECT_EQ(state(2), "lagging");
    slow_down(0, 1);
    slow_down(2, 1);
    static_cast<void>(write_for(12 * kSecond, 4));
    EXPECT_EQ(state(0), "in-sync");
    EXPECT_EQ(state(2), "in-sync");
    expect_members_alike();
}

// It gets everything, but nobody has waited for it: at a start it is as good as any old copy.
TEST_F(LaggingTest, IsNotTrustedAtAStart) {
    for (const bool power : {false, true}) {
        make();
        slow_down(1, 100);
        static_cast<void>(write_for(2 * kSecond, 2));
        ASSERT_EQ(state(1), "lagging");
        ASSERT_TRUE(world().fill(0, kBlockSize, 7, {.fua = true}).ok());
        if (power) {
            world().lose_power();
        } else {
            world().kill();
        }
        world().drive(0).faults.read_error_rate = sim::kCertain;
        EXPECT_FALSE(world().try_open().ok());
        world().drive(0).faults.read_error_rate = 0;
        world().open();
        EXPECT_NE(state(1), "in-sync");
        EXPECT_EQ(world().value_of(0, kBlockSize), 7);
        slow_down(1, 1);
        wait_for_state(1, "in-sync", 20 * kSecond);
        expect_members_alike();
    }
}

TEST_F(LaggingTest, OneThatCannotKeepUpReturnsByAResync) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(2 * kSecond, 2));
    ASSERT_EQ(state(1), "lagging");
    slow_down(1, 5000);
    const std::vector<uint64_t> meanwhile = write_for(20 * kSecond, 4);
    EXPECT_NE(state(1), "lagging");
    EXPECT_NE(state(1), "in-sync");
    EXPECT_LE(*std::max_element(meanwhile.begin(), meanwhile.end()), 100 * kMillisecond);
    slow_down(1, 1);
    wait_for_state(1, "in-sync", 120 * kSecond);
    expect_members_alike();
}

TEST_F(LaggingTest, OneThatHangsWhileItLagsFails) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(2 * kSecond, 2));
    world().drive(1).faults.hung = true;
    static_cast<void>(write_for(3 * kSecond, 2));
    EXPECT_EQ(state(1), "failed");
    world().drive(1).release();
    slow_down(1, 1);
    wait_for_state(1, "in-sync", 60 * kSecond);
    expect_members_alike();
}

// Between the decision and the configuration that follows from it.
TEST_F(LaggingTest, OneOnItsWayOutIsKeptIfTheOthersFail) {
    size_t kept = 0;
    for (uint64_t seed = 1; seed < 40; ++seed) {
        make(2, seed);
        slow_down(1, 100);
        leaving_ = false;
        const auto on_its_way = [this] { return state(1) == "lagging"; };
        for (int i = 0; i < 4; ++i) world().store.start(write_until_it_leaves());
        ASSERT_TRUE(world().store.world.run_until(on_its_way, now() + 5 * kSecond));
        leaving_ = true;
        world().store.world.run_for(seed * 20 * kMicrosecond);
        world().drive(0).faults.write_error_rate = sim::kCertain;
        world().drive(0).faults.read_error_rate = sim::kCertain;
        const Status status = world().fill(kBlockSize, kBlockSize, 9);
        if (status.ok()) {
            ++kept;
            EXPECT_EQ(state(0), "failed");
            EXPECT_EQ(state(1), "in-sync");
            EXPECT_EQ(world().value_of(kBlockSize, kBlockSize), 9);
        } else {
            EXPECT_TRUE(!in_sync_at_witness(1)) << seed;
        }
        static_cast<void>(world().close());
        world().volume.reset();
    }
    EXPECT_GT(kept, 0u);
}

TEST_F(LaggingTest, ClosingDoesNotWaitForIt) {
    make();
    slow_down(1, 100);
    static_cast<void>(write_for(2 * kSecond, 2));
    ASSERT_EQ(state(1), "lagging");
    const uint64_t began = now();
    ASSERT_TRUE(world().close().ok());
    EXPECT_LE(now() - began, 2 * kSecond);
    slow_down(1, 1);
    world().open();
    wait_for_state(1, "in-sync", 60 * kSecond);
    expect_members_alike();
}

}  // namespace
}  // namespace gemel::mirror
