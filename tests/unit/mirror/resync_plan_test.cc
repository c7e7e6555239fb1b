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

TEST(ResyncPlan, EachWindowMovesTheCursorBehindIt) {
    const ResyncBase base{.epoch = {}, .sequence = 55, .covered = 90, .cursor = 10};
    const uint64_t before[] = {1, 4, 7};
    const uint64_t after[] = {10, 12, 20, 30, 31};
    const auto windows = resync_windows(base, before, after, 140, 2);
    ASSERT_EQ(windows.size(), 5u);
    EXPECT_EQ(std::vector(windows[1].pages.begin(), windows[1].pages.end()),
              (std::vector<uint64_t>{7}));
    // Before the cursor nothing is new until all of it is;
    EXPECT_EQ(windows[0].cursor, 10u);
    EXPECT_EQ(windows[0].covered, 90u);
    EXPECT_EQ(windows[1].cursor, 10u);
    EXPECT_EQ(windows[1].covered, 140u);
    // then it moves.
    EXPECT_EQ(windows[2].cursor, 13u);
    EXPECT_EQ(windows[3].cursor, 31u);
    EXPECT_EQ(windows[4].cursor, 32u);
    EXPECT_EQ(windows[4].covered, 140u);
    EXPECT_TRUE(resync_windows(base, {}, {}, 140, 2).empty());
}

TEST(ResyncPlan, AWindowIsAnnouncedAndForgottenOnceItIsDone) {
    const uint64_t pages[] = {3, 8};
    const ResyncBase announced_base = announced({.epoch = {}, .sequence = 55}, pages);
    EXPECT_EQ(announced_base.window_begin, 3u);
    EXPECT_EQ(announced_base.window_end, 9u);
    EXPECT_EQ(announced_base.cursor, 0u);
    const ResyncBase done = after_window({.epoch = {}, .sequence = 55}, {pages, 9, 140});
    EXPECT_EQ(done.cursor, 9u);
    EXPECT_EQ(done.covered, 140u);
    EXPECT_EQ(done.window_begin, 0u);
    EXPECT_EQ(done.window_end, 0u);
}

// Until every page of it has been walked again, wherever the new windows lie.
TEST(ResyncPlan, AWindowThatWasInterruptedStaysAnnounced) {
    const ResyncBase base{
        .epoch = {}, .sequence = 55, .cursor = 5, .window_begin = 4, .window_end = 9};
    const uint64_t first[] = {2, 6};
    const uint64_t second[] = {7, 20};
    EXPECT_EQ(announced(base, first).window_begin, 2u);
    EXPECT_EQ(announced(base, first).window_end, 9u);
    const ResyncBase left = after_window(base, {first, 7, 140});
    EXPECT_EQ(left.window_begin, 7u);
    EXPECT_EQ(left.window_end, 9u);
    EXPECT_EQ(announced(left, second).window_begin, 7u);
    EXPECT_EQ(announced(left, second).window_end, 21u);
    EXPECT_EQ(after_window(left, {second, 21, 140}).window_end, 0u);
}

TEST(ResyncPlan, MergesLists) {
    const uint64_t first[] = {1, 4, 9};
    const uint64_t second[] = {2, 4};
    EXPECT_EQ(merge_pages(first, second), (std::vector<uint64_t>{1, 2, 4, 9}));
}

}  // namespace
}  // namespace gemel::mirror
