// SPDX-License-Identifier: Apache-2.0
//
// Members that are added, removed and replaced while the volume serves.
#include <gtest/gtest.h>

#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kBlock = blockdev::kBlockSize;
constexpr uint64_t kSize = 5 << 20;

Task<void> add_for_nobody(Volume& volume, bool* added) {
    const NewMemberOrder order{"/new"};
    const Outcome<size_t> outcome = co_await volume.add_member(order);
    *added = outcome.ok();
}

Task<void> replace_for_nobody(Volume& volume, size_t index) {
    const NewMemberOrder order{"/new", false, false};
    static_cast<void>(co_await volume.replace_member(index, order, false));
}

Task<void> remove_for_nobody(Volume& volume, size_t index, bool* removed) {
    const std::optional<Problem> problem = co_await volume.remove_member(index, false);
    *removed = !problem;
}

class MembershipTest : public ::testing::Test {
protected:
    void make(VolumeWorld::Options options = {}) { world_.emplace(options); }
    VolumeWorld& world() { return *world_; }
    Volume& volume() { return *world().volume; }

    const MemberReport* find(const std::string& path) {
        report_ = volume().report();
        for (const MemberReport& member : report_.members) {
            if (member.path == path) return &member;
        }
        return nullptr;
    }
    std::string state(const std::string& path) {
        const MemberReport* member = find(path);
        return member != nullptr ? member->state : "none";
    }
    size_t index_of(const std::string& path) { return volume().find_member(path).value(); }

    void add(const std::string& path, bool spare = false) {
        const auto added = world().store.run(volume().add_member({path, false, spare}));
        ASSERT_TRUE(added.ok()) << added.error().text;
    }
    std::string refusal_to_add(const NewMemberOrder& order) {
        const auto added = world().store.run(volume().add_member(order));
        return added.ok() ? "" : added.error().text;
    }
    std::string remove(const std::string& path, bool force = false) {
        const auto problem = world().store.run(volume().remove_member(index_of(path), force));
        return problem ? problem->text : "";
    }
    std::string replace(const std::string& path, const NewMemberOrder& order, bool force = false) {
        const auto replaced =
            world().store.run(volume().replace_member(index_of(path), order, force));
        return replaced.ok() ? "" : replaced.error().text;
    }
    void take_offline(const std::string& path) {
        ASSERT_FALSE(world().store.run(volume().take_offline(index_of(path))));
        wait_for([&] { return find(path)->released; });
    }
    void bring_online(const std::string& path) {
        ASSERT_FALSE(world().store.run(volume().bring_online(index_of(path))));
    }
    template <typename Condition>
    void wait_for(Condition condition) {
        ASSERT_TRUE(
            world().store.world.run_until(condition, world().store.world.now_ns() + 600 * kSecond));
    }
    void wait_in_sync(const std::string& path) {
        wait_for([&] { return state(path) == "in-sync"; });
    }
    void wait_gone(const std::string& path) {
        wait_for([&] { return state(path) == "none"; });
        world().store.world.run_for(2 * kSecond);
    }
    void crash(uint64_t turn) {
        if (turn % 2 == 0) {
            world().kill();
        } else {
            world().lose_power();
        }
    }
    std::vector<std::string> listed() {
        std::vector<std::string> paths;
        for (const MemberDescription& member : world().description.members) {
            paths.push_back(member.path);
        }
        return paths;
    }
    // Whether each member by itself holds what the volume shows. Closes the volume, opens it again.
    void expect_members_alike() {
        const auto shown = world().read(0, kSize);
        ASSERT_TRUE(shown.ok());
        ASSERT_TRUE(world().close().ok());
        for (const std::string& path : listed()) {
            blockdev::Superblock superblock;
            const auto bytes = world().store.platter(path, 0, blockdev::kSuperblockSize);
            std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
            const uint64_t home = blockdev::layout_of(superblock).home(0);
            const auto content = world().store.platter(path, home, kSize);
            for (uint64_t at = 0; at < kSize; at += kBlock) {
                ASSERT_EQ(std::memcmp(content.data() + at, shown.value().data() + at, kBlock), 0)
                    << path << " block " << at / kBlock;
            }
        }
        world().open();
    }

    sim::FileSystem space_;
    std::optional<VolumeWorld> world_;
    VolumeReport report_;
};

TEST_F(MembershipTest, AnAddedMemberGetsEverythingAndCounts) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    ASSERT_TRUE(world().fill(3 << 20, 4096, 6).ok());
    add("/new");
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/m1", "/new"}));
    ASSERT_TRUE(world().fill(4096, 4096, 7).ok());
    wait_in_sync("/new");
    // What was never written is neither compared nor copied.
    EXPECT_EQ(volume().report().resync.pages, 2u);
    expect_members_alike();
    take_offline("/m0");
    take_offline("/m1");
    EXPECT_EQ(world().value_of(4096, 4096), 7);
    EXPECT_EQ(world().value_of(3 << 20, 4096), 6);
}

TEST_F(MembershipTest, AnEmptyVolumeCopiesNothing) {
    make();
    add("/new");
    wait_in_sync("/new");
    EXPECT_EQ(volume().report().resync.pages, 0u);
    expect_members_alike();
}

TEST_F(MembershipTest, WhatIsThereIsNotOverwritten) {
    make();
    world().store.world.add_drive({.path = "/used", .size = 64 << 20});
    const std::vector<std::byte> mark(512, std::byte{9});
    world().store.drive("/used").platter().tamper(8192, mark);
    EXPECT_NE(refusal_to_add({"/used", false, false}).find("--force"), std::string::npos);
    EXPECT_EQ(world().store.platter("/used", 8192, 512), mark);
    EXPECT_EQ(listed().size(), 2u);
    EXPECT_EQ(refusal_to_add({"/used", true, false}), "");
    wait_in_sync("/used");
}

TEST_F(MembershipTest, AMemberIsNotAddedTwice) {
    make();
    EXPECT_NE(refusal_to_add({"/m1", true, false}).find("is a member already"), std::string::npos);
    EXPECT_EQ(state("/m1"), "in-sync");
}

TEST_F(MembershipTest, AFullFileSystemLeavesNothingBehind) {
    make();
    space_.capacity_pages = 500;
    world().store.world.add_drive({.path = "/small", .file_system = &space_});
    EXPECT_NE(refusal_to_add({"/small", false, false}).find("bytes free"), std::string::npos);
    EXPECT_EQ(listed().size(), 2u);
    EXPECT_EQ(volume().report().members.size(), 2u);
    add("/other");
    wait_in_sync("/other");
}

TEST_F(MembershipTest, ARemovedMemberIsGoneAndItsFileIsFree) {
    make({.members = 3});
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    EXPECT_EQ(remove("/m1"), "");
    EXPECT_EQ(state("/m1"), "none");
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/m2"}));
    world().store.world.run_for(2 * kSecond);
    ASSERT_TRUE(world().fill(4096, 4096, 7).ok());
    // Nobody holds it any more, and what it has does not count.
    EXPECT_NE(refusal_to_add({"/m1", false, false}).find("--force"), std::string::npos);
    EXPECT_EQ(refusal_to_add({"/m1", true, false}), "");
    wait_in_sync("/m1");
    expect_members_alike();
}

TEST_F(MembershipTest, ARemovedMemberNeverStartsTheVolume) {
    make();
    ASSERT_TRUE(world().fill(0, 4096, 5).ok());
    VolumeDescription before = world().description;
    EXPECT_EQ(remove("/m1"), "");
    ASSERT_TRUE(world().fill(0, 4096, 6).ok());
    ASSERT_TRUE(world().close().ok());
    // As somebody would who restores the volume file from yesterday, without /m0.
    before.members.erase(before.members.begin());
    std::swap(before, world().description);
    EXPECT_FALSE(world().try_open().ok());
    std::swap(before, world().description);
    world().open();
    EXPECT_EQ(world().value_of(0, 4096), 6);
}

TEST_F(MembershipTest, TheLastMemberInSyncStays) {
    make();
    take_offline("/m1");
    EXPECT_NE(remove("/m0").find("only member in sync"), std::string::npos);
    EXPECT_EQ(remove("/m1"), "");
    EXPECT_NE(remove("/m0").find("only member in sync"), std::string::npos);
    EXPECT_EQ(listed().size(), 1u);
    ASSERT_TRUE(world().fill(0, 4096, 5).ok());
    add("/new");
    wait_in_sync("/new");
    EXPECT_EQ(remove("/m0"), "");
    EXPECT_EQ(world().value_of(0, 4096), 5);
}

TEST_F(MembershipTest, OneThatMayHaveTheLastGoodCopyGoesByForceOnly) {
    make();
    ASSERT_TRUE(world().fill(0, 8192, 5).ok());
    ASSERT_TRUE(world().drain().ok());
    take_offline("/m1");
    world().damage_home(0, 1);
    EXPECT_EQ(world().value_of(4096, 4096), -2);
    EXPECT_NE(remove("/m1").find("last good copy"), std::string::npos);
    EXPECT_EQ(remove("/m1", true), "");
}

TEST_F(MembershipTest, AMemberThatIsAwayIsReplaced) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    take_offline("/m1");
    EXPECT_EQ(replace("/m1", {"/new"}), "");
    EXPECT_EQ(find("/new")->replaces, "/m1");
    wait_in_sync("/new");
    wait_gone("/m1");
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/new"}));
    EXPECT_EQ(find("/new")->replaces, "");
    expect_members_alike();
}

TEST_F(MembershipTest, AMemberInSyncServesUntilItsSuccessorDoes) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    EXPECT_EQ(replace("/m1", {"/new"}), "");
    EXPECT_EQ(state("/m1"), "in-sync");
    EXPECT_NE(replace("/m1", {"/newer"}).find("is being replaced by /new"), std::string::npos);
    ASSERT_TRUE(world().fill(8192, 4096, 6).ok());
    wait_in_sync("/new");
    wait_gone("/m1");
    ASSERT_TRUE(world().fill(12288, 4096, 7).ok());
    expect_members_alike();
}

TEST_F(MembershipTest, AReplacementGoesOnAfterARestart) {
    make();
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    EXPECT_EQ(replace("/m1", {"/new"}), "");
    world().kill();
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/m1", "/new"}));
    world().open();
    wait_in_sync("/new");
    wait_gone("/m1");
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/new"}));
    expect_members_alike();
}

TEST_F(MembershipTest, AReplacementIsCalledOffByRemovingTheSuccessor) {
    make();
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    EXPECT_EQ(replace("/m1", {"/new"}), "");
    EXPECT_EQ(remove("/new"), "");
    world().store.world.run_for(10 * kSecond);
    EXPECT_EQ(state("/m1"), "in-sync");
    EXPECT_EQ(replace("/m1", {"/newer"}), "");
    wait_in_sync("/newer");
    wait_gone("/m1");
}

TEST_F(MembershipTest, ADiskIsExchangedInPlace) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    EXPECT_NE(replace("/m1", {"/m1", true}).find("is in use"), std::string::npos);
    take_offline("/m1");
    EXPECT_NE(replace("/m1", {"/m1"}).find("--force"), std::string::npos);
    const Uuid before = find("/m1")->uuid;
    EXPECT_EQ(replace("/m1", {"/m1", true}), "");
    EXPECT_NE(find("/m1")->uuid, before);
    wait_in_sync("/m1");
    EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/m1"}));
    expect_members_alike();
}

TEST_F(MembershipTest, AMemberThatLostBothSuperblocksIsMadeAnew) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    ASSERT_TRUE(world().close().ok());
    const std::vector<std::byte> zeros(1 << 20);
    world().store.drive("/m1").platter().tamper(0, zeros);
    const uint64_t b =
        blockdev::make_layout(kSize, 4 * kSize, blockdev::kMinimumLogSize).superblock_b_offset;
    world().store.drive("/m1").platter().tamper(b,
                                                std::span(zeros).first(blockdev::kSuperblockSize));
    world().open();
    EXPECT_EQ(state("/m1"), "missing");
    EXPECT_EQ(replace("/m1", {"/m1", true}), "");
    wait_in_sync("/m1");
    expect_members_alike();
}

TEST_F(MembershipTest, AScrubGoesOnWhileMembersComeAndGo) {
    make();
    ASSERT_TRUE(world().fill(0, 4 << 20, 5).ok());
    ASSERT_TRUE(world().drain().ok());
    volume().scrub();
    for (int i = 0; i < 6; ++i) {
        const std::string path = "/turn" + std::to_string(i);
        add(path);
        volume().scrub();
        wait_in_sync(path);
        EXPECT_EQ(remove(path), "");
    }
    wait_for(
        [&] { return volume().report().scrub.passes > 0 && !volume().report().scrub.running; });
    for (const uint64_t found : volume().report().scrub.found) EXPECT_EQ(found, 0u);
    expect_members_alike();
}

// The places of members that are gone are used again.
TEST_F(MembershipTest, MembersComeAndGo) {
    make();
    ASSERT_TRUE(world().fill(0, 1 << 20, 5).ok());
    for (int i = 0; i < 40; ++i) {
        const std::string path = "/turn" + std::to_string(i);
        add(path);
        ASSERT_TRUE(world().fill(4096, 4096, static_cast<uint8_t>(i)).ok());
        wait_in_sync(path);
        EXPECT_EQ(remove(i % 2 == 0 ? path : "/turn" + std::to_string(i)), "");
        world().store.world.run_for(2 * kSecond);
    }
    EXPECT_EQ(volume().report().members.size(), 2u);
    expect_members_alike();
}

TEST_F(MembershipTest, SixteenAreEnough) {
    make();
    for (size_t i = 2; i < blockdev::kMaximumMembers; ++i) add("/n" + std::to_string(i));
    EXPECT_NE(refusal_to_add({"/one-more"}).find("remove one first"), std::string::npos);
    for (size_t i = 2; i < blockdev::kMaximumMembers; ++i) wait_in_sync("/n" + std::to_string(i));
    EXPECT_EQ(remove("/n7"), "");
    world().store.world.run_for(2 * kSecond);
    add("/one-more");
    wait_in_sync("/one-more");
}

TEST_F(MembershipTest, ACrashAtAnyMomentOfAReplacementIsHarmless) {
    for (uint64_t after_us = 100; after_us < 60'000; after_us += 900) {
        make({.seed = after_us});
        ASSERT_TRUE(world().fill(0, 2 << 20, 5, {.fua = true}).ok());
        world().more_drives = {"/new"};
        world().store.start(replace_for_nobody(volume(), 1));
        world().store.world.run_for(after_us * kMicrosecond);
        crash(after_us / 100);
        world().open();
        EXPECT_EQ(world().value_of(0, 2 << 20), 5);
        const bool is_member = volume().find_member("/new").has_value();
        if (!is_member) { EXPECT_EQ(replace("/m1", {"/new", true, false}), "") << after_us; }
        wait_in_sync("/new");
        wait_gone("/m1");
        EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/new"}));
        expect_members_alike();
    }
}

TEST_F(MembershipTest, ACrashAtAnyMomentOfARemovalIsHarmless) {
    for (uint64_t after_us = 1; after_us < 4'000; after_us += 61) {
        make({.seed = after_us, .members = 3});
        ASSERT_TRUE(world().fill(0, 64 << 10, 5, {.fua = true}).ok());
        bool removed = false;
        world().store.start(remove_for_nobody(volume(), 1, &removed));
        world().store.world.run_for(after_us * kMicrosecond);
        world().more_drives = {"/m1"};
        crash(after_us / 61);
        world().open();
        EXPECT_EQ(world().value_of(0, 64 << 10), 5);
        const bool is_member = volume().find_member("/m1").has_value();
        EXPECT_FALSE(removed && is_member) << after_us;
        if (is_member) {
            wait_in_sync("/m1");
            EXPECT_EQ(remove("/m1"), "") << after_us;
        }
        EXPECT_EQ(listed(), (std::vector<std::string>{"/m0", "/m2"}));
        expect_members_alike();
    }
}

// Whatever the moment: the volume opens, data is right, the verb is done or not done, and running
// it again ends well.
TEST_F(MembershipTest, ACrashAtAnyMomentOfAnAdditionIsHarmless) {
    for (uint64_t after_us = 100; after_us < 60'000; after_us += 700) {
        make({.seed = after_us});
        ASSERT_TRUE(world().fill(0, 2 << 20, 5, {.fua = true}).ok());
        world().more_drives = {"/new"};
        bool added = false;
        world().store.start(add_for_nobody(volume(), &added));
        world().store.world.run_for(after_us * kMicrosecond);
        crash(after_us / 100);
        world().open();
        EXPECT_EQ(world().value_of(0, 2 << 20), 5);
        const bool is_member = volume().find_member("/new").has_value();
        if (added) { EXPECT_TRUE(is_member) << after_us; }
        if (!is_member) { EXPECT_EQ(refusal_to_add({"/new", true}), "") << after_us; }
        wait_in_sync("/new");
        expect_members_alike();
    }
}

}  // namespace
}  // namespace gemel::mirror
