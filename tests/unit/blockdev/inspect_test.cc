// SPDX-License-Identifier: Apache-2.0
//
// What inspect says of a member, and that it changes nothing.
#include "blockdev/inspect.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class InspectTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            world_.run(format_member(*world_.env, "/m", layout_, fixed_configuration(2), 0)).ok());
    }
    MemberInspection inspect() {
        auto result = world_.run(inspect_member(*world_.env, "/m"));
        CHECK(result.ok());
        return std::move(result).value();
    }
    void open() {
        auto opened = open_member(world_, "/m", pool_);
        CHECK(opened.ok());
        member_ = std::move(opened).value();
    }

    const Layout layout_ = small_layout();
    StoreWorld world_;
    BufferPool pool_{0};
    ChainMaker chain_{fixed_configuration(2).epoch};
    std::unique_ptr<LocalMember> member_;
};

TEST_F(InspectTest, AFreshMemberIsCompleteAndEmpty) {
    const MemberInspection found = inspect();
    EXPECT_EQ(found.path, "/m");
    EXPECT_EQ(found.size, layout_.member_size());
    EXPECT_EQ(found.superblock_a_fault, nullptr);
    EXPECT_EQ(found.superblock_b_fault, nullptr);
    EXPECT_EQ(found.owner_pid, 0u);
    EXPECT_EQ(found.log_batches, 0u);
    EXPECT_EQ(found.log_last_sequence, 0u);
    EXPECT_EQ(found.pages_never_written, layout_.volume_pages());
    EXPECT_EQ(found.pages_data + found.pages_zero + found.pages_unreadable, 0u);
    EXPECT_TRUE(found.home_is_complete);
}

TEST_F(InspectTest, CountsLogAndPagesOfAMemberInUse) {
    open();
    append_and_wait(world_, *member_, chain_.next_write(0, 10));
    append_and_wait(world_, *member_, chain_.next({{EntryKind::trim, 512, 512, nullptr}}));
    ASSERT_TRUE(world_.run(member_->checkpoint(2, UINT64_MAX, 32)).ok());
    chain_.place.stable_point = 2;
    append_and_wait(world_, *member_, chain_.next_write(5, 3));
    append_and_wait(
        world_, *member_,
        chain_.next({{EntryKind::trim, 0, 1, nullptr}, {EntryKind::trim, 9, 1, nullptr}}));
    const MemberInspection found = inspect();
    EXPECT_EQ(found.owner_pid, world_.env->this_process().pid);
    EXPECT_TRUE(found.owner_is_alive);
    EXPECT_EQ(found.log_batches, 2u);
    EXPECT_EQ(found.log_writes, 3u);
    EXPECT_EQ(found.log_payload_blocks, 3u);
    EXPECT_EQ(found.log_bytes, 5 * kBlockSize);
    EXPECT_EQ(found.log_last_sequence, 5u);
    EXPECT_EQ(found.log_stable_point, 2u);
    EXPECT_EQ(found.pages_data, 1u);
    EXPECT_EQ(found.pages_zero, 1u);
    EXPECT_EQ(found.pages_never_written, 2u);
    EXPECT_FALSE(found.home_is_complete);
}

TEST_F(InspectTest, HomeIsCompleteOnlyAfterAnOrderlyStop) {
    open();
    append_and_wait(world_, *member_, chain_.next_write(0, 10));
    EXPECT_FALSE(inspect().home_is_complete);
    ASSERT_TRUE(world_.run(member_->checkpoint(1, UINT64_MAX, 32)).ok());
    EXPECT_FALSE(inspect().home_is_complete);
    ASSERT_TRUE(world_.run(member_->close()).ok());
    EXPECT_TRUE(inspect().home_is_complete);
}

TEST_F(InspectTest, NamesADeadOwner) {
    open();
    static_cast<void>(member_.release());
    const uint64_t pid = world_.env->this_process().pid;
    world_.world.kill(*world_.env);
    world_.restart();
    const MemberInspection found = inspect();
    EXPECT_EQ(found.owner_pid, pid);
    EXPECT_FALSE(found.owner_is_alive);
}

TEST_F(InspectTest, TellsDamage) {
    open();
    append_and_wait(world_, *member_, chain_.next_write(0, 10));
    ASSERT_TRUE(world_.run(member_->checkpoint(1, UINT64_MAX, 32)).ok());
    ASSERT_TRUE(world_.run(member_->close()).ok());
    member_.reset();
    const std::vector<std::byte> zeros(512);
    // One checkpoint after creation's two writes: the newest is copy B.
    world_.drive("/m").platter().tamper(0, zeros);
    world_.drive("/m").platter().tamper(layout_.index_page_offset(0, 0), zeros);
    const MemberInspection found = inspect();
    EXPECT_STREQ(found.superblock_a_fault, "magic");
    EXPECT_EQ(found.superblock_b_fault, nullptr);
    EXPECT_EQ(found.pages_unreadable, layout_.volume_pages());
}

TEST_F(InspectTest, ChangesNothing) {
    open();
    append_and_wait(world_, *member_, chain_.next_write(0, 10));
    size_t changes = 0;
    world_.world.watch([&changes](const sim::Moment& moment) {
        if (moment.io != IoKind::read) ++changes;
    });
    static_cast<void>(inspect());
    EXPECT_EQ(changes, 0u);
    EXPECT_FALSE(world_.run(inspect_member(*world_.env, "/absent")).ok());
    world_.world.add_drive({.path = "/foreign", .size = 64 * kMiB});
    EXPECT_FALSE(world_.run(inspect_member(*world_.env, "/foreign")).ok());
    EXPECT_EQ(changes, 0u);
}

TEST_F(InspectTest, ReadsWhatTheMemberRemembersOfItself) {
    EXPECT_EQ(inspect().health, MemberHealth{});
    open();
    MemberHealth health;
    health.blocks_healed = 3;
    health.last_event = "event=healed block=1 cause=torn";
    health.last_event_s = 5;
    health.unrecoverable = {{4, 2}};
    ASSERT_TRUE(world_.run(member_->save_health(health)).ok());
    const MemberHealth found = inspect().health;
    EXPECT_EQ(found.last_event, health.last_event);
    EXPECT_EQ(found.unrecoverable, health.unrecoverable);
}

}  // namespace
}  // namespace gemel::blockdev
