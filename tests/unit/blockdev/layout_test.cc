// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of a member's layout, and the check of a record that comes from disk.
#include "blockdev/layout.h"

#include <gtest/gtest.h>

#include "tests/sim/random.h"

namespace gemel::blockdev {
namespace {

void expect_sound(const Layout& layout) {
    EXPECT_LE(kOwnerOffset + sizeof(OwnerRecord), kLogOffset);
    EXPECT_EQ(layout.root_offset, kLogOffset + layout.log_size);
    // Each table ends where the next one begins.
    EXPECT_EQ(layout.root_page_offset(layout.root_pages(), 0), layout.index_offset);
    EXPECT_EQ(layout.index_page_offset(layout.index_pages(), 0), layout.checksum_offset);
    EXPECT_EQ(layout.checksum_page_offset(layout.maximum_pages(), 0), layout.superblock_b_offset);
    EXPECT_LE(layout.superblock_b_offset + kSuperblockSize, layout.home_offset);
    EXPECT_EQ(layout.checksum_page_offset(0, 1), layout.checksum_page_offset(0, 0) + kBlockSize);
    EXPECT_EQ(layout.checksum_page_offset(1, 0), layout.checksum_page_offset(0, 1) + kBlockSize);
    for (const uint64_t offset : {layout.root_offset, layout.index_offset, layout.checksum_offset,
                                  layout.superblock_b_offset, layout.home_offset}) {
        EXPECT_EQ(offset % kBlockSize, 0u);
    }
    EXPECT_EQ(layout.home_offset % kMiB, 0u);
    // There is an entry for every page, one level up.
    EXPECT_GE(layout.maximum_pages() * kPageSpan, layout.maximum_size);
    EXPECT_GE(layout.index_pages() * kIndexEntries, layout.maximum_pages());
    EXPECT_GE(layout.root_pages() * kIndexEntries, layout.index_pages());
    EXPECT_LE(layout.root_pages(), kRootEntries);
    EXPECT_EQ(layout.home(layout.volume_blocks()), layout.member_size());
    EXPECT_EQ(layout.home(0), layout.home_offset);
}

TEST(Layout, RegionsFollowEachOtherWithoutOverlap) {
    sim::Random random(7);
    for (int i = 0; i < 2000; ++i) {
        const uint64_t maximum = random.skewed(1, kMaximumVolumeSize / kBlockSize) * kBlockSize;
        const uint64_t volume = random.between(1, maximum / kBlockSize) * kBlockSize;
        const uint64_t log = random.skewed(kMinimumLogSize / kMiB, kMaximumLogSize / kMiB) * kMiB;
        expect_sound(make_layout(volume, maximum, log));
        ASSERT_FALSE(::testing::Test::HasFailure()) << volume << " " << maximum << " " << log;
    }
}

TEST(Layout, EdgesOfEveryLevelAreSound) {
    for (const uint64_t pages : {uint64_t{1}, kIndexEntries, kIndexEntries * kIndexEntries,
                                 kRootEntries * kIndexEntries * kIndexEntries}) {
        for (const int64_t off : {-1, 0, 1}) {
            const uint64_t size = pages * kPageSpan + static_cast<uint64_t>(off) * kBlockSize;
            if (size == 0 || size > kMaximumVolumeSize) continue;
            expect_sound(make_layout(size, size, kMinimumLogSize));
        }
    }
    expect_sound(make_layout(kBlockSize, kBlockSize, kMinimumLogSize));
}

TEST(Layout, TheLargestVolumeUsesEveryRoot) {
    const Layout layout = make_layout(kMaximumVolumeSize, kMaximumVolumeSize, kMaximumLogSize);
    expect_sound(layout);
    EXPECT_EQ(layout.root_pages(), kRootEntries);
    EXPECT_EQ(kMaximumVolumeSize, 512ull * 252 * 252 * 2 * kMiB);
}

TEST(Layout, OffsetsDoNotDependOnThePresentSize) {
    const Layout small = make_layout(kMiB, 1ull << 40, 64 * kMiB);
    const Layout grown = make_layout(1ull << 40, 1ull << 40, 64 * kMiB);
    EXPECT_EQ(small.home_offset, grown.home_offset);
    EXPECT_EQ(small.superblock_b_offset, grown.superblock_b_offset);
    EXPECT_EQ(small.checksum_offset, grown.checksum_offset);
}

GeometryRecord good_record() {
    Layout layout = make_layout(100 * kMiB, 400 * kMiB, 16 * kMiB);
    layout.log_limit = 64 << 10;
    return to_record(layout);
}

TEST(Layout, ARecordBringsTheLayoutBack) {
    Layout layout = make_layout(100 * kMiB, 400 * kMiB, 16 * kMiB);
    layout.log_limit = 128 << 10;
    layout.preallocated = true;
    ASSERT_EQ(geometry_fault(to_record(layout)), nullptr);
    const Layout back = from_record(to_record(layout), layout.volume_size);
    EXPECT_EQ(back.volume_size, layout.volume_size);
    EXPECT_EQ(back.maximum_size, layout.maximum_size);
    EXPECT_EQ(back.home_offset, layout.home_offset);
    EXPECT_EQ(back.log_limit, layout.log_limit);
    EXPECT_TRUE(back.preallocated);
}

TEST(Layout, ABrokenRecordIsRefusedByTheRuleItBreaks) {
    struct Case {
        const char* rule;
        void (*spoil)(GeometryRecord&);
    };
    const Case cases[] = {
        {"maximum size", [](GeometryRecord& r) { r.maximum_size = 0; }},
        {"maximum size", [](GeometryRecord& r) { r.maximum_size = kMaximumVolumeSize + 4096; }},
        {"maximum size", [](GeometryRecord& r) { r.maximum_size = UINT64_MAX; }},
        {"log size", [](GeometryRecord& r) { r.log_size = 0; }},
        {"log size", [](GeometryRecord& r) { r.log_size = r.log_size + 4096; }},
        {"log size", [](GeometryRecord& r) { r.log_size = kMaximumLogSize + kMiB; }},
        {"log limit", [](GeometryRecord& r) { r.log_limit = 0; }},
        {"log limit", [](GeometryRecord& r) { r.log_limit = 5000; }},
        {"log limit", [](GeometryRecord& r) { r.log_limit = 1 << 20; }},
        {"geometry flags", [](GeometryRecord& r) { r.flags = 2; }},
        {"geometry offsets", [](GeometryRecord& r) { r.log_offset = r.log_offset + 4096; }},
        {"geometry offsets", [](GeometryRecord& r) { r.root_offset = r.root_offset + 4096; }},
        {"geometry offsets", [](GeometryRecord& r) { r.index_offset = 0; }},
        {"geometry offsets", [](GeometryRecord& r) { r.checksum_offset = UINT64_MAX; }},
        {"geometry offsets", [](GeometryRecord& r) { r.superblock_b_offset = 0; }},
        {"geometry offsets", [](GeometryRecord& r) { r.home_offset = r.home_offset + kMiB; }},
    };
    ASSERT_EQ(geometry_fault(good_record()), nullptr);
    for (const Case& one : cases) {
        GeometryRecord record = good_record();
        one.spoil(record);
        EXPECT_STREQ(geometry_fault(record), one.rule);
    }
}

TEST(Layout, NoSingleFlippedBitPassesWithAnotherPlaceForHome) {
    const GeometryRecord good = good_record();
    for (size_t bit = 0; bit < sizeof good * 8; ++bit) {
        GeometryRecord record = good;
        writable_bytes_of(record)[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        if (geometry_fault(record) != nullptr) continue;
        EXPECT_EQ(from_record(record, kBlockSize).home_offset, record.home_offset.get()) << bit;
    }
}

TEST(Layout, GarbageIsRefusedAndNothingMore) {
    sim::Random random(3);
    for (int i = 0; i < 20000; ++i) {
        GeometryRecord record = good_record();
        const uint64_t changes = random.between(1, 4);
        for (uint64_t j = 0; j < changes; ++j) {
            const size_t word = random.below(sizeof record / 8);
            const uint64_t value = random.coin() ? random.next() : random.skewed(0, 1ull << 62);
            std::memcpy(writable_bytes_of(record).data() + word * 8, &value, sizeof value);
        }
        if (geometry_fault(record) == nullptr) expect_sound(from_record(record, kBlockSize));
    }
}

}  // namespace
}  // namespace gemel::blockdev
