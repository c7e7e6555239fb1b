// SPDX-License-Identifier: Apache-2.0
#include "mirror/resync_plan.h"

#include <gtest/gtest.h>

#include <cstring>

#include "blockdev/superblock.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {
namespace {

using blockdev::EpochRecord;
using blockdev::fixed_uuid;

EpochRecord epoch(uint64_t number, uint8_t id, uint64_t first) {
    EpochRecord record{};
    record.number = number;
    record.id = fixed_uuid(id);
    record.first_sequence = first;
    return record;
}

// In epochs 1 and 2, in sync with member 0x10.
std::unique_ptr<blockdev::Superblock> member_superblock() {
    auto superblock = blockdev::make_superblock_buffer();
    superblock->epochs[0] = epoch(1, 0xe0, 1);
    superblock->epochs[1] = epoch(2, 0xe2, 50);
    superblock->epoch_count = 2;
    superblock->configuration = blockdev::fixed_configuration(2);
    superblock->configuration.epoch = superblock->epochs[1];
    return superblock;
}

const History kVolume{{epoch(1, 0xe0, 1), epoch(2, 0xe2, 50), epoch(3, 0xe3, 80)}, 120};

TEST(ResyncPlan, WithoutAResyncUnderWayTheBaseIsTheLastWriteInCommon) {
    const auto superblock = member_superblock();
    const ResyncBase base = resync_base(*superblock, 60, kVolume);
    EXPECT_EQ(base.epoch, fixed_uuid(0xe2));
    EXPECT_EQ(base.sequence, 60u);
    EXPECT_EQ(base.cursor, 0u);
}

TEST(ResyncPlan, AVoidedTailIsNotInCommon) {
    const auto superblock = member_superblock();
    EXPECT_EQ(resync_base(*superblock, 95, kVolume).sequence, 79u);
}

TEST(ResyncPlan, AStrangersHistoryIsNoBase) {
    const auto superblock = member_superblock();
    const ResyncBase base = resync_base(*superblock, 60, {{epoch(1, 0x77, 1)}, 100});
    EXPECT_EQ(base.sequence, 0u);
    EXPECT_TRUE(base.epoch.is_nil());
}

TEST(ResyncPlan, AnInterruptedResyncGoesOnFromItsFrozenBase) {
    const auto superblock = member_superblock();
    superblock->epochs[2] = epoch(3, 0xe3, 80);
    superblock->epoch_count = 3;
    superblock->resync = resync_record({.epoch = fixed_uuid(0xe2),
                                        .sequence = 55,
                                        .covered = 90,
                                        .cursor = 7,
                                        .window_begin = 7,
                                        .window_end = 9});
    const ResyncBase base = resync_base(*superblock, 110, kVolume);
    EXPECT_EQ(base.sequence, 55u);
    EXPECT_EQ(base.covered, 90u);
    EXPECT_EQ(base.cursor, 7u);
    EXPECT_EQ(base.window_begin, 7u);
    EXPECT_EQ(base.window_end, 9u);
}

// 1. The member joins after write 90, which is numbered and not acknowledged. 2. Everything
// crashes, and write 90 is void: 90 is given again. 3. What was covered up to 90 is so up to 89.
TEST(ResyncPlan, WhatWasCoveredAndIsVoidIsNotCovered) {
    const auto superblock = member_superblock();
    superblock->epochs[2] = epoch(3, 0xe3, 80);
    superblock->epoch_count = 3;
    superblock->resync =
        resync_record({.epoch = fixed_uuid(0xe2), .sequence = 55, .covered = 90, .cursor = 7});
    History volume = kVolume;
    volume.epochs.push_back(epoch(4, 0xe4, 90));
    EXPECT_EQ(resync_base(*superblock, 95, volume).covered, 89u);
}

TEST(ResyncPlan, OneThatStartedFromNothingHasNoBase) {
    const auto superblock = member_superblock();
    superblock->resync = resync_record({.epoch = {}, .covered = 70, .cursor = 3});
    const ResyncBase base = resync_base(*superblock, 75, kVolume);
    EXPECT_EQ(base.sequence, 0u);
    EXPECT_EQ(base.cursor, 3u);
    EXPECT_EQ(base.covered, 70u);
}

TEST(ResyncPlan, WritesAfterTheLastOneInCommonDivergeIfClientsMayRelyOnThem) {
    const auto superblock = member_superblock();
    const Uuid serving[] = {fixed_uuid(0x10)};
    const Uuid stranger[] = {fixed_uuid(0x99)};
    EXPECT_FALSE(has_diverged(*superblock, 60, kVolume, serving));
    // The tail of a log that the others did not keep: nothing was acknowledged without them,
    EXPECT_FALSE(has_diverged(*superblock, 95, kVolume, serving));
    // unless they did not count,
    EXPECT_TRUE(has_diverged(*superblock, 95, kVolume, stranger));
    // or it went on in a reign of its own.
    superblock->epochs[2] = epoch(3, 0x55, 80);
    superblock->epoch_count = 3;
    EXPECT_TRUE(has_diverged(*superblock, 95, kVolume, serving));
}

TEST(ResyncPlan, MergesLists) {
    const uint64_t first[] = {1, 4, 9};
    const uint64_t second[] = {2, 4};
    EXPECT_EQ(merge_pages(first, second), (std::vector<uint64_t>{1, 2, 4, 9}));
}

}  // namespace
}  // namespace gemel::mirror
