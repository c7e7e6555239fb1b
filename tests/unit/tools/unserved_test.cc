// SPDX-License-Identifier: Apache-2.0
//
// What is told of a volume that nobody serves is what a start would make of it.
#include "tools/gemel/unserved.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "blockdev/superblock.h"
#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::tools {
namespace {

using mirror::VolumeWorld;
using testing::ElementsAre;
using testing::HasSubstr;

VolumeStatus look(VolumeWorld& world) {
    return world.store.run(unserved_status(*world.store.env, world.description, "/vol.toml"));
}

std::vector<std::string> states(const VolumeStatus& status) {
    std::vector<std::string> states;
    for (const mirror::MemberReport& member : status.report.members) states.push_back(member.state);
    return states;
}

std::vector<std::string> configured(const VolumeStatus& status) {
    std::vector<std::string> states;
    for (const mirror::MemberReport& member : status.report.members) {
        states.push_back(member.configured);
    }
    return states;
}

// Whatever becomes of the volume, both say the same.
void expect_what_a_start_makes(VolumeWorld& world, const VolumeStatus& status) {
    auto parts = world.try_parts();
    if (!parts.ok()) {
        EXPECT_EQ(status.problem, parts.error().text);
        return;
    }
    ASSERT_EQ(status.report.members.size(), parts.value().members.size());
    for (size_t i = 0; i < parts.value().members.size(); ++i) {
        EXPECT_EQ(status.report.members[i].state, mirror::name(parts.value().members[i].state));
        EXPECT_EQ(status.report.members[i].why, parts.value().members[i].why);
    }
}

// The second member was away while there were writes.
void leave_one_behind(VolumeWorld& world) {
    ASSERT_TRUE(world.close().ok());
    world.description.members[1].path = "/gone";
    world.open();
    ASSERT_TRUE(world.fill(0, 64 << 10, 7).ok());
    ASSERT_TRUE(world.close().ok());
}

TEST(Unserved, AfterACleanStopAllIsWell) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 64 << 10, 7).ok());
    ASSERT_TRUE(world.close().ok());
    const VolumeStatus status = look(world);
    EXPECT_EQ(status.problem, "");
    EXPECT_EQ(status.file, "/vol.toml");
    EXPECT_EQ(status.report.state, "not-served");
    EXPECT_FALSE(status.server.has_value());
    EXPECT_THAT(states(status), ElementsAre("in-sync", "in-sync"));
    EXPECT_THAT(configured(status), ElementsAre("in-sync", "in-sync"));
    EXPECT_EQ(status.report.members[0].path, "/m0");
    EXPECT_EQ(status.report.members[0].why, "");
    EXPECT_FALSE(status.report.members[0].resync.has_value());
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, AfterAKillTheLogsCount) {
    VolumeWorld world({.members = 3});
    ASSERT_TRUE(world.fill(0, 64 << 10, 7).ok());
    world.kill();
    world.store.world.run_for(kSecond);
    world.description.members[2].path = "/gone";
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("in-sync", "in-sync", "missing"));
    EXPECT_THAT(configured(status), ElementsAre("in-sync", "in-sync", "in-sync"));
    EXPECT_THAT(status.problem, HasSubstr("/gone"));
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, OneThatIsGoneIsMissingAndSoConfigured) {
    VolumeWorld world;
    leave_one_behind(world);
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("in-sync", "missing"));
    EXPECT_THAT(configured(status), ElementsAre("in-sync", "behind"));
    EXPECT_THAT(status.report.members[1].why, HasSubstr("/gone"));
    EXPECT_EQ(status.report.members[1].uuid, world.description.members[1].uuid);
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, OneThatCameBackIsBehind) {
    VolumeWorld world;
    leave_one_behind(world);
    world.description.members[1].path = "/m1";
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("in-sync", "behind"));
    EXPECT_THAT(configured(status), ElementsAre("in-sync", "behind"));
    EXPECT_THAT(status.report.members[1].why, HasSubstr("stale"));
    EXPECT_EQ(status.problem, "");
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, TheWitnessKnowsBetterThanAMemberThatWasLeftBehind) {
    VolumeWorld world;
    leave_one_behind(world);
    world.description.members[0].path = "/gone";
    world.description.members[1].path = "/m1";
    const VolumeStatus status = look(world);
    EXPECT_THAT(configured(status), ElementsAre("in-sync", "behind"));
    EXPECT_THAT(states(status), ElementsAre("missing", "behind"));
    EXPECT_NE(status.problem, "");
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, WithoutAnyMemberNothingIsKnownOfThem) {
    VolumeWorld world;
    ASSERT_TRUE(world.close().ok());
    for (auto& member : world.description.members) member.path = "/gone";
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("missing", "missing"));
    EXPECT_EQ(status.report.size, world.description.size);
    EXPECT_THAT(status.problem, HasSubstr("no member is there"));
}

TEST(Unserved, AnInterruptedResyncIsShown) {
    VolumeWorld world;
    leave_one_behind(world);
    world.description.members[1].path = "/m1";
    blockdev::Superblock superblock;
    for (const uint64_t copy : {0, 1}) {
        auto bytes = world.store.platter("/m1", 0, blockdev::kSuperblockSize);
        std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
        const uint64_t offset = copy == 0 ? 0 : superblock.geometry.superblock_b_offset.get();
        superblock.resync.state = static_cast<uint32_t>(blockdev::ResyncState::running);
        superblock.resync.base_sequence = 1;
        superblock.resync.cursor_page = 2;
        superblock.resync.window_begin = 2;
        superblock.resync.window_end = 2;
        blockdev::seal_superblock(superblock, offset);
        std::memcpy(bytes.data(), &superblock, bytes.size());
        world.drive(1).platter().tamper(offset, bytes);
    }
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("in-sync", "behind"));
    EXPECT_THAT(status.report.members[1].why, HasSubstr("resync was interrupted"));
    ASSERT_TRUE(status.report.members[1].resync.has_value());
    EXPECT_EQ(status.report.members[1].resync->cursor_page, 2u);
    EXPECT_THAT(status_table(status), HasSubstr("of pages 0 to 1 all up to"));
    expect_what_a_start_makes(world, status);
}

TEST(Unserved, AMemberOfAnotherVolumeIsNotTaken) {
    VolumeWorld world;
    ASSERT_TRUE(world.close().ok());
    world.description.uuid.bytes[0] ^= 1;
    world.description.witness_path = "/nowhere";
    const VolumeStatus status = look(world);
    EXPECT_THAT(states(status), ElementsAre("missing", "missing"));
    EXPECT_THAT(status.report.members[0].why, HasSubstr("another volume"));
}

TEST(Unserved, AMemberThatTheVolumeFileForgotIsListed) {
    VolumeWorld world({.members = 3});
    ASSERT_TRUE(world.close().ok());
    world.description.members.pop_back();
    const VolumeStatus status = look(world);
    ASSERT_EQ(status.report.members.size(), 3u);
    EXPECT_EQ(status.report.members[2].state, "missing");
    EXPECT_EQ(status.report.members[2].configured, "in-sync");
    EXPECT_EQ(status.report.members[2].path, "");
}

}  // namespace
}  // namespace gemel::tools
