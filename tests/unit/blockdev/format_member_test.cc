// SPDX-License-Identifier: Apache-2.0
//
// Making members: nothing that holds something is overwritten, nothing half-made stays.
#include "blockdev/format_member.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class FormatMemberTest : public ::testing::Test {
protected:
    Outcome<NewMember> open_new(const std::string& path, bool force = false) {
        return world_.run(open_new_member(*world_.env, path, force));
    }
    Status prepare(Disk& disk, const Layout& layout, bool force = false) {
        return world_.run(prepare_member(*world_.env, disk, layout, force));
    }
    sim::Drive& add(const std::string& path, uint64_t size, bool device = false) {
        return world_.world.add_drive({.path = path, .size = size, .is_block_device = device});
    }
    void scribble(const std::string& path, uint64_t offset) {
        world_.drive(path).platter().tamper(offset, std::vector<std::byte>(100, std::byte{7}));
    }

    const Layout layout_ = small_layout();
    StoreWorld world_;
};

TEST_F(FormatMemberTest, CreatesAFileThatIsNotThere) {
    const auto member = open_new("/new");
    ASSERT_TRUE(member.ok());
    EXPECT_FALSE(member.value().existed);
    ASSERT_TRUE(prepare(*member.value().disk, layout_).ok());
    EXPECT_EQ(member.value().disk->size(), layout_.member_size());
}

TEST_F(FormatMemberTest, TakesAnEmptyFileAndABlankDevice) {
    add("/empty", 0);
    add("/hole", 64 * kMiB);
    add("/dev", 64 * kMiB, true);
    for (const char* path : {"/empty", "/hole", "/dev"}) {
        const auto member = open_new(path);
        ASSERT_TRUE(member.ok()) << path;
        EXPECT_TRUE(member.value().existed);
    }
}

TEST_F(FormatMemberTest, RefusesWhatIsNotBlankUnlessForced) {
    add("/file", 64 * kMiB);
    scribble("/file", 5 * kMiB);
    add("/dev", 64 * kMiB, true);
    scribble("/dev", 100);
    for (const char* path : {"/file", "/dev"}) {
        const auto before = world_.platter(path, 0, 6 * kMiB);
        const auto refused = open_new(path);
        ASSERT_FALSE(refused.ok());
        EXPECT_EQ(refused.error().code, Errc::exists);
        EXPECT_NE(refused.error().text.find("--force"), std::string::npos);
        EXPECT_EQ(world_.platter(path, 0, 6 * kMiB), before);
        EXPECT_TRUE(open_new(path, true).ok());
    }
}

TEST_F(FormatMemberTest, RefusesAMemberOfAnotherVolumeUnlessForced) {
    ASSERT_TRUE(
        world_.run(format_member(*world_.env, "/m", layout_, fixed_configuration(1), 0)).ok());
    EXPECT_EQ(open_new("/m").error().code, Errc::exists);
    EXPECT_TRUE(open_new("/m", true).ok());
}

TEST_F(FormatMemberTest, RefusesAMemberInUseAlsoWhenForced) {
    ASSERT_TRUE(
        world_.run(format_member(*world_.env, "/m", layout_, fixed_configuration(1), 0)).ok());
    BufferPool pool(0);
    const auto owner = open_member(world_, "/m", pool);
    const auto refused = open_new("/m", true);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Errc::busy);
}

// A crash from the first change on leaves no half-right member.
TEST_F(FormatMemberTest, TheOldSuperblocksGoFirst) {
    ASSERT_TRUE(
        world_.run(format_member(*world_.env, "/m", layout_, fixed_configuration(1), 0)).ok());
    auto member = open_new("/m", true);
    ASSERT_TRUE(member.ok());
    ASSERT_TRUE(prepare(*member.value().disk, layout_, true).ok());
    EXPECT_TRUE(all_zero(world_.platter("/m", 0, kLogOffset + layout_.log_size)));
    EXPECT_TRUE(all_zero(world_.platter("/m", layout_.superblock_b_offset, kSuperblockSize)));
}

TEST_F(FormatMemberTest, OldContentOfAForcedMemberIsGone) {
    add("/file", 64 * kMiB);
    scribble("/file", layout_.home_offset + 8192);
    add("/dev", 64 * kMiB, true);
    scribble("/dev", layout_.home_offset + 8192);
    scribble("/dev", layout_.home_offset - kMiB);
    for (const char* path : {"/file", "/dev"}) {
        const auto member = open_new(path, true);
        ASSERT_TRUE(member.ok());
        ASSERT_TRUE(prepare(*member.value().disk, layout_, true).ok());
        EXPECT_TRUE(all_zero(world_.platter(path, layout_.home_offset, layout_.volume_size)));
    }
}

TEST_F(FormatMemberTest, PreallocationTakesTheSpaceAtOnce) {
    Layout layout = layout_;
    layout.preallocated = true;
    const auto member = open_new("/new");
    ASSERT_TRUE(prepare(*member.value().disk, layout).ok());
    sim::Platter& platter = world_.drive("/new").platter();
    const uint64_t tables = layout.root_offset / kBlockSize;
    EXPECT_EQ(platter.holes(tables, (layout.superblock_b_offset - layout.root_offset) / kBlockSize),
              0u);
    EXPECT_EQ(platter.holes(layout.home_offset / kBlockSize, layout.volume_blocks()), 0u);
}

TEST_F(FormatMemberTest, AFullFileSystemIsAnError) {
    sim::FileSystem space{.capacity_pages = 300};
    world_.world.add_drive({.path = "/small", .file_system = &space});
    const auto member = open_new("/small");
    ASSERT_TRUE(member.ok());
    const Status prepared = prepare(*member.value().disk, layout_);
    ASSERT_FALSE(prepared.ok());
    EXPECT_EQ(prepared.error().code, Errc::no_space);
}

TEST_F(FormatMemberTest, AFinishedMemberIsDurable) {
    ASSERT_TRUE(
        world_.run(format_member(*world_.env, "/m", layout_, fixed_configuration(1), 0)).ok());
    world_.world.lose_power(0, {&world_.drive("/m")});
    world_.restart();
    BufferPool pool(0);
    EXPECT_TRUE(open_member(world_, "/m", pool).ok());
}

TEST_F(FormatMemberTest, SaysWhatADeviceCanHold) {
    const uint64_t largest = largest_volume(64 * kMiB, 256 * kMiB, kMinimumLogSize);
    EXPECT_GT(largest, 0u);
    EXPECT_EQ(largest % kBlockSize, 0u);
    EXPECT_LE(make_layout(largest, 256 * kMiB, kMinimumLogSize).member_size(), 64 * kMiB);
    EXPECT_GT(make_layout(largest + kBlockSize, 256 * kMiB, kMinimumLogSize).member_size(),
              64 * kMiB);
    EXPECT_EQ(largest_volume(kMiB, 256 * kMiB, kMinimumLogSize), 0u);
}

}  // namespace
}  // namespace gemel::blockdev
