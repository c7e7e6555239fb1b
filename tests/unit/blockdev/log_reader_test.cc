// SPDX-License-Identifier: Apache-2.0
//
// What a reader takes from a ring, and what it must not take.
#include "blockdev/log_reader.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class LogReaderTest : public ::testing::Test {
protected:
    LogReaderTest() {
        world_.world.add_drive({.path = "/m", .size = layout_.member_size()});
        disk_ = world_.open_disk("/m");
        link_ = {chain_.place.epoch_id, 1, chain_.place.previous_hash};
    }
    void put(const Batch& batch, uint64_t offset) {
        world_.drive("/m").platter().tamper(kLogOffset + offset, batch.bytes());
    }
    // Each look with a reader of its own: none remembers older bytes.
    LogReader::Found next(uint64_t head, const ChainLink& link) {
        LogReader reader(*disk_, layout_, fixed_uuid(0xa0), chain_.hasher, pool_);
        const auto found = world_.run(reader.next(head, link));
        EXPECT_TRUE(found.ok());
        return found.ok() ? found.value() : LogReader::Found{};
    }
    uint64_t stable_point(const Uuid& epoch_id) {
        LogReader reader(*disk_, layout_, fixed_uuid(0xa0), chain_.hasher, pool_);
        return world_.run(reader.highest_stable_point(epoch_id)).value();
    }
    ChainLink after(const Batch& batch) {
        return {batch.header().epoch_id, batch.last_sequence() + 1, batch.hash()};
    }

    const Layout layout_ = small_layout();
    StoreWorld world_;
    std::unique_ptr<Disk> disk_;
    BufferPool pool_{0};
    ChainMaker chain_;
    ChainLink link_;
};

TEST_F(LogReaderTest, AnEmptyRingHasNoBatch) {
    EXPECT_EQ(next(0, link_).batch, nullptr);
    EXPECT_EQ(next(layout_.log_size, link_).batch, nullptr);
    EXPECT_EQ(stable_point(link_.epoch_id), 0u);
}

TEST_F(LogReaderTest, FindsTheBatchAtTheHead) {
    const BatchRef batch = chain_.next_write(3, 5);
    put(*batch, 8 * kBlockSize);
    const auto found = next(8 * kBlockSize, link_);
    ASSERT_NE(found.batch, nullptr);
    EXPECT_EQ(found.offset, 8 * kBlockSize);
    EXPECT_EQ(found.batch->hash(), batch->hash());
    EXPECT_EQ(std::memcmp(found.batch->bytes().data(), batch->bytes().data(), batch->size()), 0);
    EXPECT_EQ(next(9 * kBlockSize, link_).batch, nullptr);
    EXPECT_EQ(next(0, link_).batch, nullptr);
}

TEST_F(LogReaderTest, FindsAtTheStartWhatDidNotFitBeforeTheEnd) {
    const BatchRef batch = chain_.next_write(3, 5);
    put(*batch, 0);
    const auto found = next(layout_.log_size - 5 * kBlockSize, link_);
    ASSERT_NE(found.batch, nullptr);
    EXPECT_EQ(found.offset, 0u);
    EXPECT_NE(next(layout_.log_size, link_).batch, nullptr);
    // A batch of any size would have fitted before the end from here.
    EXPECT_EQ(next(layout_.log_size - kMaximumBatchSize, link_).batch, nullptr);
}

TEST_F(LogReaderTest, FollowsAChainAllRoundTheRing) {
    std::vector<BatchRef> batches;
    uint64_t head = layout_.log_size / 2;
    for (int i = 0; i < 12; ++i) {
        batches.push_back(chain_.next_write(3, 60));
        const uint64_t place = ring_place(layout_.log_size, head, batches.back()->size());
        put(*batches.back(), place);
        head = place + batches.back()->size();
    }
    LogReader reader(*disk_, layout_, fixed_uuid(0xa0), chain_.hasher, pool_);
    head = layout_.log_size / 2;
    for (const BatchRef& batch : batches) {
        const auto found = world_.run(reader.next(head, link_));
        ASSERT_TRUE(found.ok() && found.value().batch);
        EXPECT_EQ(found.value().batch->hash(), batch->hash());
        head = found.value().offset + batch->size();
        link_ = after(*batch);
    }
    EXPECT_EQ(world_.run(reader.next(head, link_)).value().batch, nullptr);
}

TEST_F(LogReaderTest, RefusesABatchOfAnEarlierLap) {
    const BatchRef old = chain_.next_write(3, 5);
    put(*old, 0);
    EXPECT_EQ(next(0, after(*old)).batch, nullptr);
    // The right number after another batch.
    ChainLink other = link_;
    other.previous_hash ^= 1;
    EXPECT_EQ(next(0, other).batch, nullptr);
}

// 1. The header is read alone, since a place further on cannot be. 2. The disk puts an older batch
// back. 3. All of it is read: it is whole, and not the one that was looked for.
TEST_F(LogReaderTest, RefusesABatchThatIsAnotherOneWhenAllOfItIsRead) {
    const BatchRef old = chain_.next_write(3, 2);
    const BatchRef wanted = chain_.next_write(3, 2);
    put(*wanted, 0);
    world_.drive("/m").faults.unreadable_pages = {(kLogOffset + kMiB) / kBlockSize};
    int reads = 0;
    world_.world.watch([&](const sim::Moment& moment) {
        if (moment.kind != sim::MomentKind::completing || moment.io != IoKind::read) return;
        if (++reads == 2) put(*old, 0);
    });
    EXPECT_EQ(next(0, after(*old)).batch, nullptr);
    EXPECT_EQ(reads, 4);
}

TEST_F(LogReaderTest, RefusesABatchOfAnotherEpoch) {
    put(*chain_.next_write(3, 5), 0);
    ChainLink other = link_;
    other.epoch_id = fixed_uuid(0xe1);
    EXPECT_EQ(next(0, other).batch, nullptr);
    EXPECT_NE(next(0, link_).batch, nullptr);
}

TEST_F(LogReaderTest, RefusesABatchOfAnotherVolume) {
    chain_.place.volume = fixed_uuid(0xa1);
    put(*chain_.next_write(3, 5), 0);
    EXPECT_EQ(next(0, link_).batch, nullptr);
}

TEST_F(LogReaderTest, RefusesABatchOfWhichOneSectorIsMissing) {
    const BatchRef batch = chain_.next_write(3, 3);
    const std::vector<std::byte> zeros(512);
    for (uint64_t sector = 0; sector < batch->size() / 512; ++sector) {
        put(*batch, 4096);
        world_.drive("/m").platter().tamper(kLogOffset + 4096 + sector * 512, zeros);
        // The rest of the header block is zero anyway.
        const bool was_zero = all_zero(batch->bytes().subspan(sector * 512, 512));
        EXPECT_EQ(next(4096, link_).batch != nullptr, was_zero) << sector;
    }
}

TEST_F(LogReaderTest, RefusesABatchThatWouldReachBeyondTheEnd) {
    const BatchRef batch = chain_.next_write(3, 5);
    world_.drive("/m").platter().tamper(kLogOffset + layout_.log_size - 3 * kBlockSize,
                                        batch->bytes());
    EXPECT_EQ(next(layout_.log_size - 3 * kBlockSize, link_).batch, nullptr);
}

TEST_F(LogReaderTest, RefusesWritesBeyondTheVolume) {
    put(*chain_.next_write(layout_.volume_blocks() - 1, 2), 0);
    EXPECT_EQ(next(0, link_).batch, nullptr);
}

TEST_F(LogReaderTest, ADeviceThatCannotBeReadIsAnError) {
    world_.drive("/m").faults.dead = true;
    LogReader reader(*disk_, layout_, fixed_uuid(0xa0), chain_.hasher, pool_);
    EXPECT_FALSE(world_.run(reader.next(0, link_)).ok());
    EXPECT_FALSE(world_.run(reader.highest_stable_point(link_.epoch_id)).ok());
}

TEST_F(LogReaderTest, TheHighestStablePointIsFoundWhereverItLies) {
    chain_.place.stable_point = 4;
    put(*chain_.next_write(0, 2), 0);
    chain_.place.stable_point = 9;
    const BatchRef highest = chain_.next_write(0, 3);
    put(*highest, layout_.log_size - 4 * kBlockSize);
    chain_.place.stable_point = 7;
    put(*chain_.next_write(0, 1), 100 * kBlockSize);
    EXPECT_EQ(stable_point(fixed_uuid(0xe0)), 9u);
    // Of a batch whose payload is torn the header still counts.
    const std::vector<std::byte> zeros(kBlockSize);
    world_.drive("/m").platter().tamper(kLogOffset + layout_.log_size - kBlockSize, zeros);
    EXPECT_EQ(stable_point(fixed_uuid(0xe0)), 9u);
    world_.drive("/m").platter().tamper(kLogOffset + layout_.log_size - 4 * kBlockSize, zeros);
    EXPECT_EQ(stable_point(fixed_uuid(0xe0)), 7u);
}

TEST_F(LogReaderTest, StablePointsOfOtherEpochsAndVolumesDoNotCount) {
    chain_.place.stable_point = 9;
    put(*chain_.next_write(0, 2), 0);
    EXPECT_EQ(stable_point(fixed_uuid(0xe1)), 0u);
    chain_.place.volume = fixed_uuid(0xa1);
    chain_.place.stable_point = 12;
    put(*chain_.next_write(0, 2), 40 * kBlockSize);
    EXPECT_EQ(stable_point(fixed_uuid(0xe0)), 9u);
}

TEST_F(LogReaderTest, GarbageInTheRingIsNoBatch) {
    sim::Random random(4);
    const BatchRef batch = chain_.next_write(3, 2);
    for (int i = 0; i < 300; ++i) {
        std::vector<std::byte> bytes(batch->bytes().begin(), batch->bytes().end());
        const size_t at = random.below(200) * 8;
        const uint64_t value = random.next();
        const bool changed = std::memcmp(bytes.data() + at, &value, sizeof value) != 0;
        std::memcpy(bytes.data() + at, &value, sizeof value);
        world_.drive("/m").platter().tamper(kLogOffset, bytes);
        EXPECT_EQ(next(0, link_).batch == nullptr, changed);
        static_cast<void>(stable_point(fixed_uuid(0xe0)));
    }
}

}  // namespace
}  // namespace gemel::blockdev
