// SPDX-License-Identifier: Apache-2.0
//
// The checksum table: slots, what a crash leaves, and damage that must be noticed.
#include "blockdev/checksum_table.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

// Far larger than one index page covers, and sparse.
Layout wide_layout() { return make_layout(2048 * kMiB, 2048 * kMiB, kMinimumLogSize); }
constexpr uint64_t kPages = 1024;

ChecksumPage page_of(uint64_t value) {
    ChecksumPage page;
    for (uint64_t i = 0; i < kPageBlocks; ++i) page.values[i] = value * 1000 + i + 1;
    return page;
}

// What one page holds: the value it was made of, or 0 for zeros.
struct Reading {
    bool ok = false;
    Errc error = Errc::io;
    uint64_t value = 0;
};

Task<Reading> look_up(ChecksumTable& table, uint64_t page) {
    Reading reading;
    std::array<uint64_t, kPageBlocks> sums{};
    const Status status = co_await table.lookup(page * kPageBlocks, sums);
    reading.ok = status.ok();
    if (!status.ok()) {
        reading.error = status.error().code;
        co_return reading;
    }
    reading.value = sums[0] / 1000;
    for (uint64_t i = 0; i < kPageBlocks; ++i) {
        CHECK(sums[i] == (sums[0] == 0 ? 0 : reading.value * 1000 + i + 1));
    }
    co_return reading;
}

class ChecksumTableTest : public ::testing::Test {
protected:
    ChecksumTableTest() {
        world_.world.add_drive({.path = "/m", .size = layout_.member_size()});
        disk_ = world_.open_disk("/m");
        table_ = make_table();
    }
    std::unique_ptr<ChecksumTable> make_table(size_t cache_bytes = 0) {
        return std::make_unique<ChecksumTable>(*world_.env, *disk_, layout_, fixed_uuid(0x10),
                                               cache_bytes);
    }
    // As if opened now, with the roots that the superblock names.
    std::unique_ptr<ChecksumTable> reopened() {
        auto table = make_table();
        if (!durable_roots_.empty()) table->load_roots(durable_roots_);
        return table;
    }
    void write(uint64_t page, uint64_t value) {
        ASSERT_TRUE(world_.run(table_->write_page(page, page_of(value), ++sequence_)).ok());
    }
    void zero(uint64_t page) { ASSERT_TRUE(world_.run(table_->mark_zero(page, ++sequence_)).ok()); }
    void write_index() { ASSERT_TRUE(world_.run(table_->write_index()).ok()); }
    void commit() {
        durable_roots_.assign(table_->roots().begin(), table_->roots().end());
        table_->commit_roots();
    }
    void checkpoint(uint64_t page, uint64_t value) {
        write(page, value);
        write_index();
        commit();
    }
    PageName name_of(ChecksumTable& table, uint64_t page) {
        return world_.run(table.page_name(page)).value();
    }
    uint64_t read(ChecksumTable& table, uint64_t page) {
        const Reading reading = world_.run(look_up(table, page));
        EXPECT_TRUE(reading.ok) << page;
        return reading.value;
    }
    void expect_corrupt(uint64_t page) {
        const auto table = reopened();
        const Reading reading = world_.run(look_up(*table, page));
        EXPECT_FALSE(reading.ok) << page;
        EXPECT_EQ(reading.error, Errc::corrupt);
    }
    sim::Platter& platter() { return world_.drive("/m").platter(); }
    std::vector<std::byte> bytes_at(uint64_t offset) {
        return world_.platter("/m", offset, kBlockSize);
    }

    const Layout layout_ = wide_layout();
    StoreWorld world_;
    std::unique_ptr<Disk> disk_;
    std::unique_ptr<ChecksumTable> table_;
    std::vector<IndexEntry> durable_roots_;
    uint64_t sequence_ = 0;
};

TEST_F(ChecksumTableTest, NeverWrittenIsKnownWithoutReading) {
    size_t reads = 0;
    world_.world.watch([&reads](const sim::Moment&) { ++reads; });
    for (uint64_t page = 0; page < kPages; page += 50) EXPECT_EQ(read(*table_, page), 0u);
    EXPECT_EQ(name_of(*table_, 7).state, PageState::never_written);
    std::array<uint64_t, 2000> sums;
    sums.fill(1);
    EXPECT_TRUE(table_->try_lookup(123'456, sums));
    EXPECT_EQ(std::count(sums.begin(), sums.end(), 0), 2000);
    EXPECT_EQ(reads, 0u);
    EXPECT_EQ(table_->memory_bytes(), 0u);
}

TEST_F(ChecksumTableTest, SlotsAlternateFromCommitToCommit) {
    for (uint64_t round = 0; round < 5; ++round) {
        checkpoint(300, round + 1);
        EXPECT_EQ(name_of(*table_, 300).slot, round % 2);
        EXPECT_EQ(PageName::decode(table_->roots()[0]).slot, round % 2);
    }
    EXPECT_EQ(read(*reopened(), 300), 5u);
}

TEST_F(ChecksumTableTest, WhatIsNotCommittedDoesNotTouchWhatIs) {
    checkpoint(10, 1);
    checkpoint(900, 2);
    write(10, 3);
    write(11, 4);
    zero(900);
    write_index();
    // A crash before the superblock: the old roots still lead to the old pages.
    const auto old = reopened();
    EXPECT_EQ(read(*old, 10), 1u);
    EXPECT_EQ(read(*old, 11), 0u);
    EXPECT_EQ(read(*old, 900), 2u);
    EXPECT_EQ(read(*table_, 10), 3u);
    EXPECT_EQ(read(*table_, 900), 0u);
    commit();
    const auto fresh = reopened();
    EXPECT_EQ(read(*fresh, 10), 3u);
    EXPECT_EQ(read(*fresh, 11), 4u);
    EXPECT_EQ(read(*fresh, 900), 0u);
    EXPECT_EQ(name_of(*fresh, 900).state, PageState::zero);
}

TEST_F(ChecksumTableTest, ARepeatedCheckpointWritesTheSameOtherSlots) {
    checkpoint(10, 1);
    std::vector<uint64_t> offsets;
    world_.world.watch([&offsets](const sim::Moment& moment) {
        if (moment.kind == sim::MomentKind::submitting && moment.io == IoKind::write) {
            offsets.push_back(moment.offset);
        }
    });
    write(10, 2);
    write_index();
    const std::vector<uint64_t> first = std::move(offsets);
    offsets.clear();
    for (int attempt = 0; attempt < 3; ++attempt) {
        write(10, 3);
        write_index();
        EXPECT_EQ(offsets, first);
        offsets.clear();
        EXPECT_EQ(read(*reopened(), 10), 1u);
    }
    world_.world.watch(nullptr);
    commit();
    EXPECT_EQ(read(*reopened(), 10), 3u);
}

// The case of the comment in mark_zero(): the page is zero in a checkpoint that must be repeated,
// and the repetition brings data for it.
TEST_F(ChecksumTableTest, DataAfterAnUncommittedZeroSparesTheSlotThatIsNamed) {
    checkpoint(10, 1);
    zero(10);
    write_index();
    write(10, 2);
    write_index();
    EXPECT_EQ(read(*reopened(), 10), 1u);
    commit();
    EXPECT_EQ(read(*reopened(), 10), 2u);
}

TEST_F(ChecksumTableTest, AnUncommittedZeroTwiceSparesTheSlotThatIsNamed) {
    checkpoint(10, 1);
    zero(10);
    zero(10);
    write(10, 2);
    zero(10);
    write(10, 3);
    write_index();
    EXPECT_EQ(read(*reopened(), 10), 1u);
}

TEST_F(ChecksumTableTest, APageGoesThroughZeroAndBackWithACommitEachTime) {
    for (uint64_t value = 1; value < 5; ++value) {
        checkpoint(10, value);
        EXPECT_EQ(read(*reopened(), 10), value);
        zero(10);
        write_index();
        EXPECT_EQ(read(*reopened(), 10), value);
        commit();
        EXPECT_EQ(read(*reopened(), 10), 0u);
    }
}

TEST_F(ChecksumTableTest, AnyMixOfAttemptsAndCommitsKeepsTheCommittedState) {
    for (uint64_t seed = 1; seed <= 12; ++seed) {
        sim::Random random(seed);
        std::map<uint64_t, uint64_t> now;
        std::map<uint64_t, uint64_t> durable;
        table_ = make_table();
        durable_roots_.assign(layout_.root_pages(), IndexEntry{});
        for (int step = 0; step < 60; ++step) {
            const uint64_t page = random.below(3) * 251 + random.below(4);
            const uint64_t value = static_cast<uint64_t>(step) + 1;
            switch (random.below(5)) {
                case 0:
                case 1: write(page, value), now[page] = value; break;
                case 2: zero(page), now[page] = 0; break;
                case 3: write_index(); break;
                case 4: write_index(), commit(), durable = now; break;
            }
            const auto table = reopened();
            for (const auto& [known, expected] : durable) {
                ASSERT_EQ(read(*table, known), expected) << "seed " << seed << " step " << step;
            }
            for (const auto& [known, expected] : now) ASSERT_EQ(read(*table_, known), expected);
        }
    }
}

TEST_F(ChecksumTableTest, SequencesNameTheNewestWrite) {
    checkpoint(10, 1);
    checkpoint(11, 2);
    EXPECT_EQ(name_of(*table_, 10).sequence, 1u);
    EXPECT_EQ(name_of(*table_, 11).sequence, 2u);
    zero(11);
    EXPECT_EQ(name_of(*table_, 11).sequence, 3u);
    write_index();
    EXPECT_EQ(PageName::decode(table_->roots()[0]).sequence, 3u);
}

TEST_F(ChecksumTableTest, OnlyChangedIndexPagesAreWritten) {
    checkpoint(10, 1);
    checkpoint(900, 1);
    size_t writes = 0;
    world_.world.watch([&writes](const sim::Moment& moment) {
        if (moment.kind == sim::MomentKind::submitting && moment.io == IoKind::write) ++writes;
    });
    write_index();
    EXPECT_EQ(writes, 0u);
    write(10, 2);
    write_index();
    EXPECT_EQ(writes, 3u);  // The page, its index page, the one above.
}

// --- Damage

TEST_F(ChecksumTableTest, ALostWriteOfAChecksumPageIsNoticed) {
    checkpoint(10, 1);
    checkpoint(11, 1);
    checkpoint(10, 2);
    world_.drive("/m").faults.lost_write_rate = sim::kCertain;
    write(10, 3);
    write(12, 3);
    world_.drive("/m").faults.lost_write_rate = 0;
    write_index();
    commit();
    expect_corrupt(10);
    expect_corrupt(12);
    EXPECT_EQ(read(*reopened(), 11), 1u);
}

TEST_F(ChecksumTableTest, ALostWriteOfAnIndexPageIsNoticed) {
    checkpoint(10, 1);
    checkpoint(10, 2);
    write(10, 3);
    world_.drive("/m").faults.lost_write_rate = sim::kCertain;
    write_index();
    world_.drive("/m").faults.lost_write_rate = 0;
    commit();
    expect_corrupt(10);
    // Nor is a page whose index is gone taken for never written.
    expect_corrupt(20);
}

TEST_F(ChecksumTableTest, AZeroedPageDoesNotPassForNeverWritten) {
    checkpoint(10, 1);
    const std::vector<std::byte> zeros(kBlockSize);
    for (const uint64_t offset :
         {layout_.checksum_page_offset(10, 0), layout_.index_page_offset(0, 0),
          layout_.root_page_offset(0, 0)}) {
        const auto good = bytes_at(offset);
        platter().tamper(offset, zeros);
        expect_corrupt(10);
        platter().tamper(offset, good);
        EXPECT_EQ(read(*reopened(), 10), 1u);
    }
}

TEST_F(ChecksumTableTest, AnOlderVersionInThePlaceIsNoticed) {
    checkpoint(10, 1);
    const uint64_t page = layout_.checksum_page_offset(10, 0);
    const uint64_t index = layout_.index_page_offset(0, 0);
    const auto old_page = bytes_at(page);
    const auto old_index = bytes_at(index);
    checkpoint(10, 2);
    checkpoint(10, 3);
    const auto new_page = bytes_at(page);
    platter().tamper(page, old_page);
    expect_corrupt(10);
    platter().tamper(page, new_page);
    EXPECT_EQ(read(*reopened(), 10), 3u);
    platter().tamper(index, old_index);
    expect_corrupt(10);
}

TEST_F(ChecksumTableTest, AnotherPagesContentInThePlaceIsNoticed) {
    checkpoint(10, 1);
    checkpoint(11, 2);
    platter().tamper(layout_.checksum_page_offset(10, 0),
                     bytes_at(layout_.checksum_page_offset(11, 0)));
    expect_corrupt(10);
    checkpoint(600, 2);
    platter().tamper(layout_.index_page_offset(2, 0), bytes_at(layout_.index_page_offset(0, 0)));
    expect_corrupt(600);
}

TEST_F(ChecksumTableTest, AnotherMembersPagesAreNotTaken) {
    checkpoint(10, 1);
    ChecksumTable other(*world_.env, *disk_, layout_, fixed_uuid(0x20), 0);
    other.load_roots(durable_roots_);
    EXPECT_FALSE(world_.run(look_up(other, 10)).ok);
}

TEST_F(ChecksumTableTest, AnyFlippedBitInAnIndexPageIsRefused) {
    checkpoint(10, 1);
    const uint64_t offset = layout_.index_page_offset(0, 0);
    const auto good = bytes_at(offset);
    for (size_t bit = 0; bit < kBlockSize * 8; bit += bit < 300 * 8 ? 7 : 151) {
        auto bad = good;
        bad[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        platter().tamper(offset, bad);
        expect_corrupt(10);
        ASSERT_FALSE(HasFailure()) << bit;
    }
}

TEST_F(ChecksumTableTest, AnUnreadablePageIsTheDevicesError) {
    checkpoint(10, 1);
    world_.drive("/m").faults.unreadable_pages = {layout_.checksum_page_offset(10, 0) / kBlockSize};
    const auto table = reopened();
    const Reading reading = world_.run(look_up(*table, 10));
    EXPECT_FALSE(reading.ok);
    EXPECT_EQ(reading.error, Errc::io);
    // Nothing false was remembered.
    world_.drive("/m").faults.unreadable_pages.clear();
    EXPECT_EQ(read(*table, 10), 1u);
}

TEST_F(ChecksumTableTest, AFailedWriteLeavesTheTableAsItWas) {
    checkpoint(10, 1);
    world_.drive("/m").faults.write_error_rate = sim::kCertain;
    EXPECT_FALSE(world_.run(table_->write_page(10, page_of(2), 50)).ok());
    world_.drive("/m").faults.write_error_rate = 0;
    EXPECT_EQ(read(*table_, 10), 1u);
    EXPECT_EQ(read(*reopened(), 10), 1u);
    write(10, 3);
    world_.drive("/m").faults.write_error_rate = sim::kCertain;
    EXPECT_FALSE(world_.run(table_->write_index()).ok());
    world_.drive("/m").faults.write_error_rate = 0;
    EXPECT_EQ(read(*reopened(), 10), 1u);
    write_index();
    commit();
    EXPECT_EQ(read(*reopened(), 10), 3u);
}

// --- Cache

TEST_F(ChecksumTableTest, ATinyCacheStaysSmallAndRight) {
    for (uint64_t page = 0; page < 400; ++page) write(page, page + 1);
    write_index();
    commit();
    const auto table = reopened();
    sim::Random random(3);
    for (int i = 0; i < 1500; ++i) {
        const uint64_t page = random.coin() ? random.below(400) : random.below(20);
        ASSERT_EQ(read(*table, page), page + 1);
    }
    // 64 pages, and two index pages under one above.
    EXPECT_EQ(table->memory_bytes(), (64 + 3) * kBlockSize);
    for (uint64_t page = 0; page < 400; page += 3) {
        ASSERT_TRUE(world_.run(table->write_page(page, page_of(page + 500), 1000)).ok());
    }
    for (uint64_t page = 0; page < 400; ++page) {
        ASSERT_EQ(read(*table, page), page % 3 == 0 ? page + 500 : page + 1);
    }
    EXPECT_LE(table->memory_bytes(), (64 + 3) * kBlockSize);
}

TEST_F(ChecksumTableTest, WhatIsCachedNeedsNoDisk) {
    checkpoint(10, 1);
    const auto table = reopened();
    std::array<uint64_t, kPageBlocks> sums;
    EXPECT_FALSE(table->try_lookup(10 * kPageBlocks, sums));
    EXPECT_EQ(read(*table, 10), 1u);
    ASSERT_TRUE(table->try_lookup(10 * kPageBlocks, sums));
    EXPECT_EQ(sums[5], 1006u);
}

TEST_F(ChecksumTableTest, ARangeOverSeveralPagesIsPutTogether) {
    checkpoint(10, 1);
    checkpoint(12, 2);
    std::array<uint64_t, kPageBlocks * 2 + 2> sums;
    const auto table = reopened();
    ASSERT_TRUE(world_.run(table->lookup(11 * kPageBlocks - 1, sums)).ok());
    EXPECT_EQ(sums[0], 1000 + kPageBlocks);
    EXPECT_EQ(sums[1], 0u);
    EXPECT_EQ(sums[kPageBlocks], 0u);
    EXPECT_EQ(sums[kPageBlocks + 1], 2001u);
    EXPECT_EQ(sums[2 * kPageBlocks], 2000 + kPageBlocks);
    EXPECT_EQ(sums[2 * kPageBlocks + 1], 0u);
}

Task<void> look_up_into(ChecksumTable& table, uint64_t page, Reading& out) {
    out = co_await look_up(table, page);
}
Task<void> write_into(ChecksumTable& table, uint64_t page, uint64_t value, uint64_t sequence) {
    const Status status = co_await table.write_page(page, page_of(value), sequence);
    CHECK(status.ok());
}

TEST_F(ChecksumTableTest, ConcurrentLookupsOfOnePageAgree) {
    for (uint64_t page = 0; page < 8; ++page) write(page, page + 1);
    write_index();
    commit();
    const auto table = reopened();
    std::vector<Reading> readings(64);
    for (size_t i = 0; i < readings.size(); ++i) {
        world_.start(look_up_into(*table, i % 8, readings[i]));
    }
    ASSERT_TRUE(world_.finish());
    for (size_t i = 0; i < readings.size(); ++i) {
        EXPECT_TRUE(readings[i].ok);
        EXPECT_EQ(readings[i].value, i % 8 + 1);
    }
}

// A checkpoint moves a page, and a repeated one writes it in place, while others read it.
TEST_F(ChecksumTableTest, LookupsBesideAWriteSeeThePageWholeOldOrNew) {
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        StoreWorld world(seed);
        world.world.add_drive({.path = "/m", .size = layout_.member_size()});
        const auto disk = world.open_disk("/m");
        ChecksumTable writer(*world.env, *disk, layout_, fixed_uuid(0x10), 0);
        for (uint64_t page = 0; page < 100; ++page) {
            ASSERT_TRUE(world.run(writer.write_page(page, page_of(1), 1)).ok());
        }
        // Page 0 has left the cache by now, and its slot has moved since the last commit.
        std::vector<Reading> readings(20);
        world.start(look_up_into(writer, 0, readings[0]));
        world.start(write_into(writer, 0, 2, 2));
        for (size_t i = 1; i < readings.size(); ++i) {
            world.start(look_up_into(writer, 0, readings[i]));
        }
        ASSERT_TRUE(world.finish());
        for (const Reading& reading : readings) {
            ASSERT_TRUE(reading.ok);
            ASSERT_TRUE(reading.value == 1 || reading.value == 2);
        }
        ASSERT_EQ(world.run(look_up(writer, 0)).value, 2u);
    }
}

}  // namespace
}  // namespace gemel::blockdev
