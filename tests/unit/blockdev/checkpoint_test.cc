// SPDX-License-Identifier: Apache-2.0
//
// What a checkpoint writes, in which order, and what failures leave.
#include "blockdev/checkpoint.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

enum class Region { superblock, log, index, page, home, none };

struct Step {
    sim::MomentKind moment = sim::MomentKind::submitting;
    IoKind io = IoKind::read;
    Region region = Region::none;
    uint64_t offset = 0;
    uint64_t length = 0;
};

Region region_of(const Layout& layout, const sim::Moment& moment) {
    if (moment.io == IoKind::sync) return Region::none;
    if (moment.offset >= layout.home_offset) return Region::home;
    if (moment.offset >= layout.superblock_b_offset) return Region::superblock;
    if (moment.offset >= layout.checksum_offset) return Region::page;
    if (moment.offset >= layout.root_offset) return Region::index;
    return moment.offset >= kLogOffset ? Region::log : Region::superblock;
}

Task<Status> run_checkpoint(Env& env, Disk& disk, const Layout& layout, ChecksumTable& table,
                            const ecc::BlockHasher& hasher, const Overlay& slice) {
    Checkpoint checkpoint(env, disk, layout, table, hasher, slice, 32);
    co_return co_await checkpoint.run();
}

Task<Status> look_up(ChecksumTable& table, uint64_t block, uint64_t& out) {
    co_return co_await table.lookup(block, {&out, 1});
}

class CheckpointTest : public ::testing::Test {
protected:
    explicit CheckpointTest(sim::FileSystem* space = nullptr) {
        world_.world.add_drive({.path = "/m", .size = layout_.member_size(), .file_system = space});
        disk_ = world_.open_disk("/m");
        table_ = std::make_unique<ChecksumTable>(*world_.env, *disk_, layout_, fixed_uuid(0x10), 0);
        world_.world.watch([this](const sim::Moment& moment) {
            if (moment.kind == sim::MomentKind::submitted) return;
            steps_.push_back(
                {moment.kind, moment.io, region_of(layout_, moment), moment.offset, moment.length});
        });
    }
    void write(uint64_t block, uint32_t count) { keep(chain_.next_write(block, count)); }
    void clear(uint64_t block, uint32_t count, EntryKind kind = EntryKind::trim) {
        keep(chain_.next({{kind, block, count, nullptr}}));
    }
    void keep(BatchRef batch) {
        batches_.push_back(batch);
        slice_.insert(*batch);
    }
    Status checkpoint() {
        steps_.clear();
        return world_.run(
            run_checkpoint(*world_.env, *disk_, layout_, *table_, chain_.hasher, slice_));
    }
    size_t submitted(IoKind io, Region region) const {
        size_t count = 0;
        for (const Step& step : steps_) {
            count += step.moment == sim::MomentKind::submitting && step.io == io &&
                     step.region == region;
        }
        return count;
    }
    // The tag of the block that is home; 0 for a zero block.
    uint64_t tag_at_home(uint64_t block) {
        const auto bytes = world_.platter("/m", layout_.home(block), kBlockSize);
        uint64_t tag = 0;
        std::memcpy(&tag, bytes.data(), sizeof tag);
        return tag;
    }
    // The content at home and the table's checksum agree, and bear this tag.
    void expect_home(uint64_t block, uint64_t tag) {
        EXPECT_EQ(tag_at_home(block), tag) << block;
        uint64_t sum = 1;
        ASSERT_TRUE(world_.run(look_up(*table_, block, sum)).ok());
        const auto bytes = world_.platter("/m", layout_.home(block), kBlockSize);
        EXPECT_EQ(sum, tag == 0 ? 0 : chain_.hasher.checksum(block, bytes.data())) << block;
    }

    const Layout layout_ = small_layout(64 * kMiB);
    StoreWorld world_;
    std::unique_ptr<Disk> disk_;
    std::unique_ptr<ChecksumTable> table_;
    ChainMaker chain_;
    std::vector<BatchRef> batches_;
    Overlay slice_;
    std::vector<Step> steps_;
};

// Home, flush, pages and index, flush: whatever a crash leaves, what the superblock names is whole.
TEST_F(CheckpointTest, StepsComeInTheirOrder) {
    for (uint64_t i = 0; i < 40; ++i) write(i * 150, 5);
    clear(7000, 600);
    clear(9000, 20, EntryKind::write_zeroes);
    ASSERT_TRUE(checkpoint().ok());
    size_t syncs_ended = 0;
    size_t syncs_begun = 0;
    size_t home_in_flight = 0;
    size_t tables_in_flight = 0;
    for (const Step& step : steps_) {
        const bool begins = step.moment == sim::MomentKind::submitting;
        if (step.io == IoKind::read) continue;
        if (step.io == IoKind::sync) {
            EXPECT_EQ(home_in_flight + tables_in_flight, 0u);
            (begins ? syncs_begun : syncs_ended) += 1;
            continue;
        }
        ASSERT_NE(step.region, Region::superblock);
        ASSERT_NE(step.region, Region::log);
        if (step.region == Region::home) {
            EXPECT_EQ(syncs_begun, 0u);
            home_in_flight += begins ? 1 : -1;
        } else {
            EXPECT_EQ(syncs_ended, 1u);
            EXPECT_EQ(syncs_begun, 1u);
            tables_in_flight += begins ? 1 : -1;
        }
    }
    EXPECT_EQ(syncs_ended, 2u);
    EXPECT_EQ(steps_.back().io, IoKind::sync);
    EXPECT_GT(submitted(IoKind::write, Region::home), 0u);
    EXPECT_GT(submitted(IoKind::write, Region::page), 0u);
    EXPECT_GT(submitted(IoKind::write, Region::index), 0u);
    EXPECT_EQ(world_.drive("/m").platter().unsynced(), 0u);
}

// An index page names checksum pages and a root names index pages: each level follows the one
// below.
TEST_F(CheckpointTest, EachLevelOfTheIndexFollowsTheOneBelow) {
    for (uint64_t i = 0; i < 20; ++i) write(i * 600, 5);
    ASSERT_TRUE(checkpoint().ok());
    uint64_t pages_in_flight = 0;
    bool level_one_ended = false;
    for (const Step& step : steps_) {
        const bool begins = step.moment == sim::MomentKind::submitting;
        if (step.io != IoKind::write) continue;
        if (step.region == Region::page) pages_in_flight += begins ? 1 : -1;
        if (step.region != Region::index) continue;
        EXPECT_EQ(pages_in_flight, 0u);
        const bool upper = step.offset < layout_.index_offset;
        if (upper) { EXPECT_TRUE(level_one_ended); }
        if (!upper && !begins) level_one_ended = true;
    }
    EXPECT_TRUE(level_one_ended);
}

TEST_F(CheckpointTest, EverythingIsHomeAfterwards) {
    write(0, 3);
    write(510, 4);
    write(16'380, 4);
    ASSERT_TRUE(checkpoint().ok());
    for (const uint64_t block : {0, 1, 2}) expect_home(block, 1);
    for (const uint64_t block : {510, 511, 512, 513}) expect_home(block, 2);
    expect_home(16'383, 3);
    expect_home(3, 0);
    expect_home(514, 0);
}

TEST_F(CheckpointTest, OverwritesInTheLogAreAbsorbed) {
    for (int i = 0; i < 6; ++i) write(100, 8);
    write(104, 1);
    ASSERT_TRUE(checkpoint().ok());
    uint64_t bytes = 0;
    for (const Step& step : steps_) {
        if (step.moment == sim::MomentKind::submitting && step.region == Region::home) {
            bytes += step.length;
        }
    }
    EXPECT_EQ(bytes, 8 * kBlockSize);
    expect_home(103, 6);
    expect_home(104, 7);
    expect_home(105, 6);
}

TEST_F(CheckpointTest, AdjacentBlocksOfManyBatchesGoHomeInOneWrite) {
    for (uint64_t i = 0; i < 32; ++i) write(1000 + (i * 7) % 32, 1);
    ASSERT_TRUE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::write, Region::home), 1u);
    for (uint64_t i = 0; i < 32; ++i) expect_home(1000 + (i * 7) % 32, i + 1);
}

TEST_F(CheckpointTest, HomeWritesGoInAddressOrder) {
    for (const uint64_t block : {9000, 3, 700, 4, 16'000, 20}) write(block, 1);
    ASSERT_TRUE(checkpoint().ok());
    uint64_t previous = 0;
    for (const Step& step : steps_) {
        if (step.moment != sim::MomentKind::submitting || step.region != Region::home) continue;
        EXPECT_GT(step.offset, previous);
        previous = step.offset;
    }
}

TEST_F(CheckpointTest, RangesAreClearedBeforeBlocksAreWrittenIntoThem) {
    write(200, 100);
    clear(200, 100);
    write(250, 1);
    ASSERT_TRUE(checkpoint().ok());
    size_t clears_ended = 0;
    for (const Step& step : steps_) {
        if (step.region != Region::home) continue;
        const bool ends = step.moment == sim::MomentKind::completing;
        if (step.io == IoKind::punch) clears_ended += ends ? 1 : 0;
        if (step.io == IoKind::write) { EXPECT_EQ(clears_ended, 1u); }
    }
    // What the range covers is not written only to be cleared.
    EXPECT_EQ(submitted(IoKind::write, Region::home), 1u);
    expect_home(249, 0);
    expect_home(250, 3);
    expect_home(251, 0);
}

TEST_F(CheckpointTest, ATrimGivesSpaceBackAndWriteZeroesKeepsIt) {
    write(100, 50);
    ASSERT_TRUE(checkpoint().ok());
    slice_ = Overlay();
    clear(100, 10);
    clear(120, 10, EntryKind::write_zeroes);
    ASSERT_TRUE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::punch, Region::home), 1u);
    EXPECT_EQ(submitted(IoKind::zero, Region::home), 1u);
    const uint64_t home = layout_.home_offset / kBlockSize;
    // A punch that landed in two steps keeps the page in which it was cut.
    EXPECT_GE(world_.drive("/m").platter().holes(home + 100, 10), 9u);
    EXPECT_EQ(world_.drive("/m").platter().holes(home + 120, 10), 0u);
    for (const uint64_t block : {100, 109, 120, 129}) expect_home(block, 0);
    for (const uint64_t block : {110, 119, 130, 149}) expect_home(block, 1);
}

TEST_F(CheckpointTest, WholePagesOfZerosBecomeAMarkWithoutAPage) {
    write(512, 512 / 4);
    ASSERT_TRUE(checkpoint().ok());
    slice_ = Overlay();
    clear(0, 16 * 512);
    ASSERT_TRUE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::write, Region::page), 0u);
    EXPECT_EQ(submitted(IoKind::read, Region::page), 0u);
    EXPECT_EQ(world_.run(table_->page_name(1)).value().state, PageState::zero);
    EXPECT_EQ(world_.run(table_->page_name(1)).value().sequence, 2u);
    EXPECT_EQ(world_.run(table_->page_name(16)).value().state, PageState::never_written);
}

TEST_F(CheckpointTest, ThePagesSequenceIsThatOfItsNewestWrite) {
    write(0, 1);
    write(600, 1);
    write(1, 1);
    clear(700, 1);
    ASSERT_TRUE(checkpoint().ok());
    EXPECT_EQ(world_.run(table_->page_name(0)).value().sequence, 3u);
    EXPECT_EQ(world_.run(table_->page_name(1)).value().sequence, 4u);
}

TEST_F(CheckpointTest, PayloadThatChangedInMemoryIsRefusedBeforeItGoesHome) {
    write(50, 2);
    const_cast<std::byte*>(batches_[0]->payload(1))[77] ^= std::byte{1};
    const Status status = checkpoint();
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, Errc::corrupt);
    EXPECT_EQ(submitted(IoKind::write, Region::page), 0u);
    EXPECT_EQ(submitted(IoKind::write, Region::index), 0u);
    EXPECT_EQ(tag_at_home(51), 0u);
}

TEST_F(CheckpointTest, AFailedFlushEndsIt) {
    write(50, 2);
    world_.drive("/m").faults.sync_error_rate = sim::kCertain;
    EXPECT_FALSE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::write, Region::page), 0u);
    EXPECT_EQ(submitted(IoKind::sync, Region::none), 1u);
}

TEST_F(CheckpointTest, AFailedHomeWriteEndsIt) {
    for (uint64_t i = 0; i < 80; ++i) write(i * 10, 1);
    world_.drive("/m").faults.write_error_rate = sim::kCertain;
    EXPECT_FALSE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::sync, Region::none), 0u);
    EXPECT_EQ(submitted(IoKind::write, Region::page), 0u);
    EXPECT_EQ(world_.drive("/m").in_flight(), 0u);
}

TEST_F(CheckpointTest, AnEmptySliceWritesNothing) {
    ASSERT_TRUE(checkpoint().ok());
    EXPECT_EQ(submitted(IoKind::write, Region::home), 0u);
    EXPECT_EQ(submitted(IoKind::write, Region::index), 0u);
}

// --- Full file systems

class CheckpointOnFullDisk : public CheckpointTest {
protected:
    CheckpointOnFullDisk() : CheckpointTest(&space()) {}
    static sim::FileSystem& space() {
        static sim::FileSystem one;
        return one;
    }
    void SetUp() override { space().capacity_pages = UINT64_MAX; }
};

TEST_F(CheckpointOnFullDisk, NoSpaceLeavesWhatIsNamedAndARepeatSucceeds) {
    write(0, 4);
    write(600, 4);
    ASSERT_TRUE(checkpoint().ok());
    const std::vector<IndexEntry> roots(table_->roots().begin(), table_->roots().end());
    table_->commit_roots();
    slice_ = Overlay();
    write(2, 4);
    write(5000, 30);
    clear(601, 1);
    // However far it comes before the file system is full.
    for (uint64_t room = 0;; ++room) {
        space().capacity_pages = space().used_pages + 1;
        const Status status = checkpoint();
        if (status.ok()) {
            EXPECT_GT(room, 2u);
            break;
        }
        ASSERT_EQ(status.error().code, Errc::no_space);
        // A table opened after a crash now still finds the state before.
        ChecksumTable old(*world_.env, *disk_, layout_, fixed_uuid(0x10), 0);
        old.load_roots(roots);
        uint64_t sum = 0;
        ASSERT_TRUE(world_.run(look_up(old, 601, sum)).ok());
        EXPECT_NE(sum, 0u);
        ASSERT_TRUE(world_.run(look_up(old, 5000, sum)).ok());
        EXPECT_EQ(sum, 0u);
        ASSERT_LT(room, 200u);
        space().capacity_pages = UINT64_MAX;
        // Somebody else makes a little room: some of what is missing fits the next time.
        const std::vector<std::byte> byte(1);
        world_.drive("/m").platter().tamper(layout_.home(5000 + room % 30), byte);
    }
    expect_home(1, 1);
    expect_home(2, 3);
    expect_home(5029, 4);
    expect_home(600, 2);
    expect_home(601, 0);
}

TEST_F(CheckpointOnFullDisk, ARepeatMayBringMore) {
    write(0, 2);
    space().capacity_pages = space().used_pages;
    ASSERT_EQ(checkpoint().error().code, Errc::no_space);
    space().capacity_pages = UINT64_MAX;
    write(1, 2);
    clear(0, 1);
    ASSERT_TRUE(checkpoint().ok());
    expect_home(0, 0);
    expect_home(1, 2);
    expect_home(2, 2);
}

}  // namespace
}  // namespace gemel::blockdev
