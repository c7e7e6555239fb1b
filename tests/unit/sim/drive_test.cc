// SPDX-License-Identifier: Apache-2.0
//
// A simulated drive in ordinary use, its injected faults, and the misuse it notices.
#include <gtest/gtest.h>

#include <set>

#include "tests/unit/sim/sim_harness.h"

namespace gemel::sim {
namespace {

TEST(Drive, ReadsWhatWasWritten) {
    Harness harness;
    auto disk = harness.open();
    Block data(0x5c, 3), back(0, 3);
    ASSERT_TRUE(harness.run(write_block(*disk, 12288, data)));
    ASSERT_TRUE(harness.run(read_block(*disk, 12288, back)));
    EXPECT_TRUE(data.status.ok() && back.status.ok());
    EXPECT_EQ(std::memcmp(data.data.get(), back.data.get(), data.size), 0);
}

TEST(Drive, TearsAReadBesideAWrite) {
    std::set<size_t> new_sectors;
    for (uint64_t seed = 1; seed <= 400; ++seed) {
        Harness harness(seed);
        auto disk = harness.open();
        Block data(0x22), back;
        harness.spawn(write_block(*disk, 0, data));
        harness.spawn(read_block(*disk, 0, back));
        ASSERT_TRUE(harness.finish());
        size_t count = 0;
        for (size_t at = 0; at < kPageSize; at += kSectorSize) {
            if (back.bytes()[at] == std::byte{0x22}) ++count;
        }
        new_sectors.insert(count);
    }
    EXPECT_TRUE(new_sectors.contains(0) && new_sectors.contains(8));
    EXPECT_GT(new_sectors.size(), 3u);
}

TEST(Drive, IsSparse) {
    Harness harness;
    constexpr uint64_t kHuge = uint64_t{64} << 40;
    harness.world.add_drive({.path = "/huge", .size = kHuge});
    auto disk = harness.open("/huge");
    Block data(0x22), back(1), cleared;
    ASSERT_TRUE(harness.run(write_block(*disk, kHuge - kPageSize, data)));
    ASSERT_TRUE(harness.run(clear_range(*disk, IoKind::punch, 0, kHuge, cleared)));
    ASSERT_TRUE(harness.run(read_block(*disk, kHuge - kPageSize, back)));
    EXPECT_TRUE(all_zero(back.bytes()));
}

TEST(Drive, RunsOutOfSpaceAndGetsItBack) {
    Harness harness;
    FileSystem space{.capacity_pages = 4};
    harness.world.add_drive({.path = "/small", .size = 1 << 20, .file_system = &space});
    auto disk = harness.open("/small");
    Block four(1, 4), more(2), over(3, 4), cleared;
    ASSERT_TRUE(harness.run(write_block(*disk, 0, four)));
    EXPECT_TRUE(four.status.ok());
    EXPECT_EQ(disk->free_bytes().value(), 0u);
    ASSERT_TRUE(harness.run(write_block(*disk, 65536, more)));
    ASSERT_FALSE(more.status.ok());
    EXPECT_EQ(more.status.error().code, Errc::no_space);
    ASSERT_TRUE(harness.run(write_block(*disk, 0, over)));
    EXPECT_TRUE(over.status.ok());
    ASSERT_TRUE(harness.run(clear_range(*disk, IoKind::punch, 0, kPageSize, cleared)));
    EXPECT_EQ(disk->free_bytes().value(), kPageSize);
    ASSERT_TRUE(harness.run(write_block(*disk, 65536, more)));
    EXPECT_TRUE(more.status.ok());
    EXPECT_EQ(space.used_pages, 4u);
    EXPECT_EQ(space.reserved_pages, 0u);
}

TEST(Drive, InjectsErrorsAndLosesWrites) {
    Harness harness;
    auto disk = harness.open();
    Block data(0x22), back(1), lost(0x33), failed(0x44);
    ASSERT_TRUE(harness.run(write_block(*disk, 0, data)));
    harness.drive->faults.unreadable_pages = {0};
    ASSERT_TRUE(harness.run(read_block(*disk, 0, back)));
    EXPECT_EQ(back.status.error().code, Errc::io);
    harness.drive->faults = {};
    harness.drive->faults.lost_write_rate = kCertain;
    ASSERT_TRUE(harness.run(write_block(*disk, 0, lost)));
    EXPECT_TRUE(lost.status.ok());
    EXPECT_EQ(harness.platter_byte(0), std::byte{0x22});
    harness.drive->faults = {};
    harness.drive->faults.dead = true;
    ASSERT_TRUE(harness.run(write_block(*disk, 0, failed)));
    EXPECT_EQ(failed.status.error().code, Errc::io);
}

TEST(Drive, HangsUntilReleased) {
    Harness harness;
    auto disk = harness.open();
    Block data(0x22);
    harness.drive->faults.hung = true;
    harness.spawn(write_block(*disk, 0, data));
    harness.settle();
    EXPECT_FALSE(data.done);
    harness.drive->release();
    EXPECT_TRUE(harness.finish());
    EXPECT_TRUE(data.done && data.status.ok());
}

TEST(Drive, RefusesWhatLiesBeyondItsEnd) {
    Harness harness;
    auto disk = harness.open();
    Block back;
    ASSERT_TRUE(harness.run(read_block(*disk, disk->size(), back)));
    EXPECT_FALSE(back.status.ok());
    EXPECT_TRUE(harness.world.first_violation().empty());
    Block data;
    harness.spawn(write_block(*disk, disk->size(), data));
    EXPECT_FALSE(harness.finish());
    EXPECT_FALSE(harness.world.first_violation().empty());
    harness.world.kill(*harness.process);
    (void)disk.release();
}

// After a violation the world stands still, so the tasks are left where they are.
void expect_violation(Harness& harness, std::unique_ptr<Disk> disk, const char* words) {
    EXPECT_FALSE(harness.finish());
    EXPECT_NE(harness.world.first_violation().find(words), std::string::npos);
    harness.world.kill(*harness.process);
    (void)disk.release();
}

TEST(Drive, NoticesTwoWritesOfOneBlockInFlight) {
    Harness harness;
    auto disk = harness.open();
    Block one(1, 4), two(2);
    harness.spawn(write_block(*disk, 0, one));
    harness.spawn(write_block(*disk, 3 * kPageSize, two));
    expect_violation(harness, std::move(disk), "two writes of one block");
}

TEST(Drive, AllowsNeighbouringWrites) {
    Harness harness;
    auto disk = harness.open();
    Block one(1, 4), two(2), three(3);
    harness.spawn(write_block(*disk, 4 * kPageSize, one));
    harness.spawn(write_block(*disk, 8 * kPageSize, two));
    harness.spawn(write_block(*disk, 3 * kPageSize, three));
    EXPECT_TRUE(harness.finish());
}

TEST(Drive, NoticesMemoryThatChangesUnderAWrite) {
    Harness harness;
    auto disk = harness.open();
    Block data(1);
    harness.spawn(write_block(*disk, 0, data));
    data.bytes()[17] = std::byte{2};
    expect_violation(harness, std::move(disk), "memory of a write changed");
}

TEST(Drive, NoticesAWriteThatIgnoresTheLock) {
    Harness harness;
    auto owner = harness.open();
    auto disk = harness.open();
    Block data(1);
    ASSERT_TRUE(owner->try_lock().ok());
    EXPECT_EQ(disk->try_lock().error().code, Errc::busy);
    harness.spawn(write_block(*disk, 0, data));
    expect_violation(harness, std::move(disk), "holds its lock");
    (void)owner.release();
}

TEST(DriveDeathTest, InsistsOnAlignment) {
    Harness harness;
    auto disk = harness.open();
    Block data(1);
    EXPECT_DEATH(harness.spawn(write_block(*disk, 512, data)), "kIoAlignment");
}

TEST(Disk, IsBlankUntilWritten) {
    Harness harness;
    harness.world.add_drive({.path = "/dev/disk", .size = 4 << 20, .is_block_device = true});
    for (const char* path : {"/disk", "/dev/disk"}) {
        auto disk = harness.open(path);
        EXPECT_TRUE(disk->is_blank().value());
        Block data(1);
        ASSERT_TRUE(harness.run(write_block(*disk, disk->size() - kPageSize, data)));
        EXPECT_FALSE(disk->is_blank().value());
    }
}

TEST(Disk, OpensCreatesResizesAndRemoves) {
    Harness harness;
    auto missing = harness.process->open_disk("/new", {});
    ASSERT_FALSE(missing.ok());
    EXPECT_EQ(missing.error().code, Errc::not_found);
    auto disk = harness.open("/new", {.create = true});
    EXPECT_EQ(disk->size(), 0u);
    ASSERT_TRUE(disk->resize(1 << 20).ok());
    EXPECT_EQ(disk->size(), 1u << 20);
    EXPECT_TRUE(harness.process->remove_file("/new").ok());
    EXPECT_FALSE(harness.process->open_disk("/new", {}).ok());
    auto device = harness.open("/disk");
    EXPECT_EQ(device->free_bytes().ok(), true);
}

uint64_t busy_run(uint64_t seed) {
    Harness harness(seed);
    auto* disk = harness.open().release();
    auto* blocks = new std::vector<std::unique_ptr<Block>>;
    for (uint8_t i = 0; i < 40; ++i) {
        blocks->push_back(std::make_unique<Block>(i));
        harness.spawn(write_block(*disk, i * 2 * kPageSize, *blocks->back()));
        blocks->push_back(std::make_unique<Block>());
        harness.spawn(read_block(*disk, i * 2 * kPageSize, *blocks->back()));
    }
    for (int i = 0; i < 50; ++i) harness.world.step();
    harness.world.lose_power(0, {harness.drive});
    harness.settle();
    return harness.world.trace().hash();
}

TEST(World, GivesTheSameRunForTheSameSeed) {
    std::set<uint64_t> hashes;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        const uint64_t hash = busy_run(seed);
        EXPECT_EQ(hash, busy_run(seed));
        hashes.insert(hash);
    }
    EXPECT_EQ(hashes.size(), 20u);
}

}  // namespace
}  // namespace gemel::sim
