// SPDX-License-Identifier: Apache-2.0
//
// One owner at a time: a live one is named, a dead one's last requests are waited for.
#include "blockdev/member_lock.h"

#include <gtest/gtest.h>

#include <stdlib.h>
#include <unistd.h>

#include "blockdev/uring_env.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class MemberLockTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            world_.run(format_member(*world_.env, "/m", small_layout(), fixed_configuration(1), 0))
                .ok());
    }
    // The owner, in a process of its own; stays behind when that is killed.
    LocalMember* open_as_owner() {
        auto opened = open_member(world_, "/m", *pool_);
        CHECK(opened.ok());
        return std::move(opened).value().release();
    }

    StoreWorld world_;
    BufferPool* pool_ = new BufferPool(0);
};

TEST_F(MemberLockTest, ALiveOwnerIsNamedAndRefusedAfterItsPatience) {
    LocalMember* owner = open_as_owner();
    const uint64_t pid = world_.env->this_process().pid;
    world_.restart();
    const uint64_t start = world_.world.now_ns();
    const auto second = open_member(world_, "/m", *pool_);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Errc::busy);
    EXPECT_NE(second.error().text.find("/m: in use by process " + std::to_string(pid)),
              std::string::npos)
        << second.error().text;
    // Simulated time: it might have been about to exit.
    EXPECT_GE(world_.world.now_ns() - start, kLiveOwnerPatience_ns);
    EXPECT_LT(world_.world.now_ns() - start, kLockPatience_ns);
    static_cast<void>(owner);
}

using Opened = Outcome<std::unique_ptr<LocalMember>>;

Task<void> open_into(Env& env, BufferPool& pool, std::optional<Opened>& out) {
    out.emplace(co_await LocalMember::open(env, "/m", 1 << 20, pool));
}

TEST_F(MemberLockTest, AnOwnerThatIsAboutToExitIsWaitedFor) {
    LocalMember* owner = open_as_owner();
    world_.restart();
    std::optional<Opened> opened;
    world_.start(open_into(*world_.env, *pool_, opened));
    world_.world.run_for(kLiveOwnerPatience_ns / 2);
    EXPECT_FALSE(opened.has_value());
    delete owner;
    ASSERT_TRUE(world_.finish());
    EXPECT_TRUE(opened->ok());
}

TEST_F(MemberLockTest, ADeadOwnersRequestsHaveLandedOnceTheLockIsTaken) {
    for (uint64_t seed = 1; seed <= 25; ++seed) {
        StoreWorld world(seed);
        add_quick_member(world, "/m", small_layout(), fixed_configuration(1), 0);
        LocalMember* owner = open_member(world, "/m", *pool_).value().release();
        world.drive("/m").latency.base_ns = 2 * kSecond;
        auto* chain = new ChainMaker;
        auto* appender = new Appender(*owner);
        for (int i = 0; i < 10; ++i) appender->append(chain->next_write(0, 4));
        world.world.run_for(kMillisecond);
        EXPECT_EQ(world.drive("/m").in_flight(), 10u);
        world.world.kill(*world.env);
        world.restart();
        world.drive("/m").latency.base_ns = 20'000;
        auto next = open_member(world, "/m", *pool_);
        ASSERT_TRUE(next.ok()) << next.error().text;
        EXPECT_EQ(world.drive("/m").in_flight(), 0u);
        const auto then = world.platter("/m", kLogOffset, 60 * kBlockSize);
        world.world.run_for(20 * kSecond);
        EXPECT_EQ(world.platter("/m", kLogOffset, 60 * kBlockSize), then);
    }
}

TEST_F(MemberLockTest, ADeadOwnerWhoseRequestsNeverEndIsGivenUpInTheEnd) {
    LocalMember* owner = open_as_owner();
    auto* chain = new ChainMaker;
    auto* appender = new Appender(*owner);
    world_.drive("/m").latency.base_ns = 1000 * kSecond;
    appender->append(chain->next_write(0, 4));
    world_.world.run_for(kMillisecond);
    world_.world.kill(*world_.env);
    world_.restart();
    world_.drive("/m").latency.base_ns = 20'000;
    const uint64_t start = world_.world.now_ns();
    const auto next = open_member(world_, "/m", *pool_);
    ASSERT_FALSE(next.ok());
    EXPECT_EQ(next.error().code, Errc::timed_out);
    EXPECT_NE(next.error().text.find("although its last owner is gone"), std::string::npos);
    EXPECT_GE(world_.world.now_ns() - start, kLockPatience_ns);
}

TEST_F(MemberLockTest, ClosingReleasesTheMember) {
    LocalMember* owner = open_as_owner();
    ASSERT_TRUE(world_.run(owner->close()).ok());
    delete owner;
    EXPECT_TRUE(open_member(world_, "/m", *pool_).ok());
}

TEST_F(MemberLockTest, TheOwnerRecordNamesTheProcessAndLastsUntilItCloses) {
    LocalMember* owner = open_as_owner();
    const auto disk = world_.open_disk("/m");
    const auto record = world_.run(read_owner(*disk));
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->pid, world_.env->this_process().pid);
    EXPECT_EQ(record->start_time, world_.env->this_process().start_time);
    EXPECT_EQ(record->superblock_b_offset, small_layout().superblock_b_offset);
    ASSERT_TRUE(world_.run(owner->close()).ok());
    EXPECT_EQ(world_.run(read_owner(*disk))->pid, 0u);
    delete owner;
}

TEST_F(MemberLockTest, AnyFlippedBitInTheOwnerRecordIsSeen) {
    const auto good = world_.platter("/m", kOwnerOffset, kBlockSize);
    const auto disk = world_.open_disk("/m");
    for (size_t bit = 0; bit < kBlockSize * 8; bit += bit < 80 * 8 ? 3 : 97) {
        auto bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        world_.drive("/m").platter().tamper(kOwnerOffset, bad);
        ASSERT_EQ(world_.run(read_owner(*disk)), nullptr) << bit;
    }
    world_.drive("/m").platter().tamper(kOwnerOffset, good);
    EXPECT_NE(world_.run(read_owner(*disk)), nullptr);
}

// A record of another boot says nothing of a process with the same number today.
TEST_F(MemberLockTest, AnOwnerFromBeforeALossOfPowerIsDead) {
    open_as_owner();
    world_.world.lose_power(0, {&world_.drive("/m")});
    world_.restart();
    EXPECT_TRUE(open_member(world_, "/m", *pool_).ok());
}

TEST_F(MemberLockTest, ADriveThatCannotBeReadStillSaysThatItIsInUse) {
    open_as_owner();
    world_.restart();
    world_.drive("/m").faults.unreadable_pages = {kOwnerOffset / kBlockSize};
    const auto second = open_member(world_, "/m", *pool_);
    ASSERT_FALSE(second.ok());
    EXPECT_EQ(second.error().code, Errc::busy);
}

// --- On a real kernel

TEST(MemberLockOnKernel, ADirectoryIsRefusedByName) {
    auto env = UringEnv::create({});
    if (!env.ok()) GTEST_SKIP() << env.error().text;
    char folder[] = "/tmp/gemel-lock-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const auto opened = env.value()->open_disk(folder, DiskOptions{});
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.error().text.find(folder), std::string::npos) << opened.error().text;
    EXPECT_NE(opened.error().text.find("directory"), std::string::npos) << opened.error().text;
    rmdir(folder);
}

}  // namespace
}  // namespace gemel::blockdev
