// SPDX-License-Identifier: Apache-2.0
//
// Damage to one member is masked and healed; damage to all copies of a block is an error for that
// block alone, until it is overwritten.
#include "mirror/healer.h"

#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

// Waits until the background has nothing left to heal.
void settle_down(VolumeWorld& world) { world.store.world.run_for(kSecond); }

uint64_t healed(VolumeWorld& world, size_t member) {
    return world.volume->report().members[member].blocks_healed;
}

std::vector<std::byte> home_bytes(VolumeWorld& world, size_t member, uint64_t block) {
    return world.store.platter(VolumeWorld::path(member), world.home(member, block), kBlockSize);
}

// A volume whose first 16 blocks are home, each filled with its own number plus one.
struct Filled : VolumeWorld {
    static constexpr uint64_t kBlocks = 16;
    explicit Filled(Options options = {}) : VolumeWorld(options) {
        for (uint64_t block = 0; block < kBlocks; ++block) {
            EXPECT_TRUE(fill(block * kBlockSize, kBlockSize, value(block)).ok());
        }
        EXPECT_TRUE(drain().ok());
    }
    static uint8_t value(uint64_t block) { return static_cast<uint8_t>(block + 1); }
    void expect_all_right() {
        for (uint64_t block = 0; block < kBlocks; ++block) {
            EXPECT_EQ(value_of(block * kBlockSize, kBlockSize), value(block)) << "block " << block;
        }
    }
    void read_often() {
        // Readers take turns with the members: an odd number of reads changes whose turn it is.
        for (int i = 0; i < 4; ++i) {
            expect_all_right();
            static_cast<void>(read(0, kBlocks * kBlockSize));
        }
        settle_down(*this);
    }
};

TEST(Healer, ADamagedBlockIsMaskedAndHealed) {
    Filled world;
    const auto good = home_bytes(world, 0, 3);
    world.damage_home(0, 3);
    world.read_often();
    EXPECT_EQ(home_bytes(world, 0, 3), good);
    EXPECT_EQ(healed(world, 0), 1u);
    EXPECT_EQ(healed(world, 1), 0u);
}

TEST(Healer, BlocksDamagedOnDifferentMembersOfOneRequestAreAllRight) {
    Filled world;
    for (const uint64_t block : {1u, 5u, 9u}) world.damage_home(0, block);
    for (const uint64_t block : {2u, 6u, 10u}) world.damage_home(1, block);
    const auto all = world.read(0, Filled::kBlocks * kBlockSize);
    ASSERT_TRUE(all.ok());
    for (uint64_t block = 0; block < Filled::kBlocks; ++block) {
        EXPECT_EQ(all.value()[block * kBlockSize + 100], std::byte{Filled::value(block)});
    }
    world.read_often();
    EXPECT_EQ(healed(world, 0), 3u);
    EXPECT_EQ(healed(world, 1), 3u);
}

TEST(Healer, TheSameBlockDamagedOnAllMembersIsAnErrorForItAlone) {
    Filled world;
    world.damage_home(0, 4);
    world.damage_home(1, 4);
    EXPECT_EQ(world.value_of(4 * kBlockSize, kBlockSize), -2);
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), Filled::value(3));
    EXPECT_EQ(world.value_of(5 * kBlockSize, kBlockSize), Filled::value(5));
    const std::vector<BlockRange> expected{{4, 1}};
    EXPECT_EQ(world.volume->report().unrecoverable, expected);
    // Part of it cannot be written, since nobody knows the rest; all of it can, and cures it.
    EXPECT_FALSE(world.fill(4 * kBlockSize + 512, 512, 9).ok());
    EXPECT_TRUE(world.fill(4 * kBlockSize, kBlockSize, 5).ok());
    EXPECT_TRUE(world.volume->report().unrecoverable.empty());
    world.read_often();
    ASSERT_TRUE(world.drain().ok());
    world.read_often();
}

TEST(Healer, ATrimCuresAnUnrecoverableBlock) {
    Filled world;
    for (const size_t member : {0u, 1u}) world.damage_home(member, 4);
    EXPECT_EQ(world.value_of(4 * kBlockSize, kBlockSize), -2);
    ASSERT_TRUE(world.trim(4 * kBlockSize, kBlockSize).ok());
    EXPECT_TRUE(world.volume->report().unrecoverable.empty());
    EXPECT_EQ(world.value_of(4 * kBlockSize, kBlockSize), 0);
}

TEST(Healer, AWriteThatComesFirstWins) {
    Filled world;
    world.damage_home(0, 3);
    world.damage_home(1, 3);
    world.damage_home(0, 7);
    // Both reads find damage; the writes are there before anything is healed.
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), -2);
    EXPECT_EQ(world.value_of(7 * kBlockSize, kBlockSize), Filled::value(7));
    ASSERT_TRUE(world.fill(3 * kBlockSize, kBlockSize, 0x77).ok());
    ASSERT_TRUE(world.fill(7 * kBlockSize, kBlockSize, 0x78).ok());
    settle_down(world);
    ASSERT_TRUE(world.drain().ok());
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), 0x77);
        EXPECT_EQ(world.value_of(7 * kBlockSize, kBlockSize), 0x78);
    }
}

TEST(Healer, AnUnreadableBlockIsMaskedAndRewritten) {
    Filled world;
    world.drive(0).faults.read_error_rate = sim::kCertain;
    world.expect_all_right();
    world.drive(0).faults.read_error_rate = 0;
    world.read_often();
    EXPECT_GT(world.volume->report().members[0].read_errors, 0u);
}

TEST(Healer, DamageIsToldByItsCause) {
    Filled world;
    const uint64_t place = world.home(0, 2);
    sim::Platter& platter = world.drive(0).platter();
    // An older version: block 2 is written again, and its home put back.
    const auto old = home_bytes(world, 0, 2);
    ASSERT_TRUE(world.fill(2 * kBlockSize, kBlockSize, 3).ok());
    auto changed = old;
    changed[0] = std::byte{0x99};
    ASSERT_TRUE(world.write(2 * kBlockSize, changed).ok());
    ASSERT_TRUE(world.drain().ok());
    platter.tamper(place, old);
    // Half of another content, in whole sectors.
    std::vector<std::byte> half(2048);
    for (size_t i = 0; i < half.size(); ++i) half[i] = static_cast<std::byte>(i * 7);
    platter.tamper(world.home(0, 5) + 2048, half);
    // A flipped bit.
    world.damage_home(0, 9);
    // The content of block 12 where 13 should be.
    platter.tamper(world.home(0, 13), home_bytes(world, 0, 12));
    for (int i = 0; i < 4; ++i) static_cast<void>(world.read(0, 16 * kBlockSize));
    settle_down(world);
    const DamageCounts expected{1, 1, 1, 1, 0};
    EXPECT_EQ(world.volume->report().members[0].damage, expected);
}

// --- Structures that prove themselves and are old

TEST(Healer, AnOldBlockWithAllTablesAboveItIsNotTakenForGood) {
    Filled world;
    const auto platter = [&world](size_t member) -> sim::Platter& {
        return world.drive(member).platter();
    };
    blockdev::Superblock superblock;
    platter(1).read(0, writable_bytes_of(superblock));
    const blockdev::Layout layout = blockdev::layout_of(superblock);
    const uint64_t tables = layout.superblock_b_offset - layout.root_offset;
    const auto old_tables = world.store.platter("/m1", layout.root_offset, tables);
    const auto old_block = home_bytes(world, 1, 3);
    ASSERT_TRUE(world.fill(3 * kBlockSize, kBlockSize, 99).ok());
    ASSERT_TRUE(world.close().ok());
    platter(1).tamper(layout.root_offset, old_tables);
    platter(1).tamper(world.home(1, 3), old_block);
    world.open();
    for (int i = 0; i < 4; ++i) EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), 99);
    settle_down(world);
    EXPECT_EQ(home_bytes(world, 1, 3), home_bytes(world, 0, 3));
}

TEST(Healer, EitherSuperblockMayBeLostAfterAnyCheckpoint) {
    for (const uint64_t checkpoints : {1u, 2u, 3u}) {
        for (const size_t copy : {0u, 1u}) {
            Filled world;
            for (uint64_t i = 0; i < checkpoints; ++i) {
                // More than fits into the ring: nothing of an older tail is left.
                for (int round = 0; round < 5; ++round) {
                    ASSERT_TRUE(world.fill(0, 1 << 20, static_cast<uint8_t>(70 + i)).ok());
                }
                ASSERT_TRUE(world.drain().ok());
            }
            world.kill();
            blockdev::Superblock superblock;
            world.drive(1).platter().read(0, writable_bytes_of(superblock));
            const uint64_t offset = copy == 0 ? 0 : superblock.geometry.superblock_b_offset.get();
            const std::vector<std::byte> rubbish(512, std::byte{0x55});
            world.drive(1).platter().tamper(offset, rubbish);
            world.open();
            const int expected = static_cast<int>(69 + checkpoints);
            for (int i = 0; i < 4; ++i) EXPECT_EQ(world.value_of(0, 1 << 20), expected);
            EXPECT_EQ(world.volume->report().members[1].mismatches, 0u);
        }
    }
}

// --- Devices that fail in the middle of it

TEST(Healer, AChecksumPageThatCannotBeReadDoesNotStopACheckpoint) {
    Filled world;
    ASSERT_TRUE(world.close().ok());
    blockdev::Superblock superblock;
    world.drive(1).platter().read(0, writable_bytes_of(superblock));
    const blockdev::Layout layout = blockdev::layout_of(superblock);
    for (const unsigned slot : {0u, 1u}) {
        world.drive(1).faults.unreadable_pages.insert(layout.checksum_page_offset(0, slot) /
                                                      kBlockSize);
    }
    world.open();
    ASSERT_TRUE(world.fill(3 * kBlockSize, kBlockSize, 99).ok());
    EXPECT_TRUE(world.drain().ok());
    EXPECT_EQ(world.volume->report().state, "serving");
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), 99);
}

TEST(Healer, ATableThatCannotBeRewrittenIsStillOfUse) {
    Filled world;
    ASSERT_TRUE(world.close().ok());
    blockdev::Superblock superblock;
    world.drive(1).platter().read(0, writable_bytes_of(superblock));
    const blockdev::Layout layout = blockdev::layout_of(superblock);
    for (const unsigned slot : {0u, 1u}) {
        const std::vector<std::byte> rubbish(512, std::byte{0x55});
        world.drive(1).platter().tamper(layout.checksum_page_offset(0, slot), rubbish);
    }
    world.damage_home(0, 3);
    world.open();
    world.drive(1).faults.lost_write_rate = sim::kCertain;
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), Filled::value(3));
}

}  // namespace
}  // namespace gemel::mirror
