// SPDX-License-Identifier: Apache-2.0
//
// The live part of the ring: places, room, what counts as logged, what the tail becomes.
#include "blockdev/log_writer.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/manual_loop.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

// A disk whose requests end when, and in the order in which, the test says.
class HeldDisk final : public Disk {
public:
    explicit HeldDisk(Loop& loop) : loop_(loop) {}
    void submit(IoRequest& request) override { held.push_back(&request); }
    const DiskTraits& traits() const override { return traits_; }
    uint64_t size() const override { return 1ull << 40; }
    Result<uint64_t> free_bytes() const override { return UINT64_MAX; }
    Result<bool> is_blank() override { return true; }
    Status resize(uint64_t) override { return Status::success(); }
    Status try_lock() override { return Status::success(); }

    void complete(size_t index, Status status = Status::success()) {
        IoRequest& request = *held[index];
        request.status = std::move(status);
        loop_.post(request.done);
    }

    std::vector<IoRequest*> held;

private:
    Loop& loop_;
    DiskTraits traits_;
};

class LogWriterTest : public ::testing::Test {
protected:
    LogWriterTest() : layout_(small_layout()), disk_(loop_) {
        tail_.ring_offset = 0;
        tail_.sequence = 1;
        tail_.previous_hash = chain_.place.previous_hash;
        start_at(tail_);
    }
    void start_at(const LogTail& tail) {
        writer_.emplace(loop_, disk_, layout_, tail);
        chain_.place.first_sequence = tail.sequence;
        chain_.place.previous_hash = tail.previous_hash;
    }
    AppendRequest& append(uint32_t payload_blocks) {
        return append(chain_.next_write(0, payload_blocks));
    }
    AppendRequest& append(BatchRef batch) {
        auto& request = *requests_.emplace_back(std::make_unique<AppendRequest>());
        request.batch = std::move(batch);
        request.status = Error{Errc::timed_out, 0, "not answered"};
        request.done.context = this;
        request.done.run = [](void* self) { ++static_cast<LogWriterTest*>(self)->answered_; };
        writer_->append(request);
        return request;
    }
    void complete(size_t index, Status status = Status::success()) {
        disk_.complete(index, std::move(status));
        loop_.run();
    }

    ManualLoop loop_;
    Layout layout_;
    HeldDisk disk_;
    ChainMaker chain_;
    LogTail tail_;
    std::optional<LogWriter> writer_;
    std::vector<std::unique_ptr<AppendRequest>> requests_;
    size_t answered_ = 0;
};

TEST_F(LogWriterTest, WritesABatchWholeAtTheHead) {
    AppendRequest& request = append(3);
    ASSERT_EQ(disk_.held.size(), 1u);
    const IoRequest& io = *disk_.held[0];
    EXPECT_EQ(io.kind, IoKind::write);
    EXPECT_EQ(io.offset, kLogOffset);
    EXPECT_EQ(io.length, 4 * kBlockSize);
    ASSERT_EQ(io.segment_count, 1u);
    EXPECT_EQ(io.segments[0].data, request.batch->bytes().data());
    EXPECT_EQ(writer_->head(), 4 * kBlockSize);
    EXPECT_EQ(writer_->bytes_used(), 4 * kBlockSize);
    append(1);
    EXPECT_EQ(disk_.held[1]->offset, kLogOffset + 4 * kBlockSize);
}

TEST_F(LogWriterTest, LoggedGrowsOnlyOverWhatHasNoGap) {
    for (int i = 0; i < 4; ++i) append(1);
    EXPECT_EQ(writer_->logged_sequence(), 0u);
    complete(2);
    EXPECT_EQ(writer_->logged_sequence(), 0u);
    EXPECT_EQ(answered_, 1u);
    complete(0);
    EXPECT_EQ(writer_->logged_sequence(), 1u);
    complete(1);
    EXPECT_EQ(writer_->logged_sequence(), 3u);
    complete(3);
    EXPECT_EQ(writer_->logged_sequence(), 4u);
    EXPECT_EQ(answered_, 4u);
    EXPECT_TRUE(requests_[2]->status.ok());
}

TEST_F(LogWriterTest, AFailedAppendIsToldAndNeverCountsAsLogged) {
    for (int i = 0; i < 3; ++i) append(1);
    complete(0);
    complete(1, Error{Errc::io, 5, "write"});
    complete(2);
    EXPECT_EQ(writer_->logged_sequence(), 1u);
    EXPECT_FALSE(requests_[1]->status.ok());
    EXPECT_EQ(requests_[1]->status.error().code, Errc::io);
    EXPECT_TRUE(requests_[2]->status.ok());
}

TEST_F(LogWriterTest, ABatchOfSeveralWritesCountsAsOne) {
    const AlignedBytes data = tagged_blocks(1, 1);
    append(chain_.next({{EntryKind::write, 1, 1, data.get()},
                        {EntryKind::trim, 5, 5, nullptr},
                        {EntryKind::trim, 20, 5, nullptr}}));
    append(1);
    complete(0);
    EXPECT_EQ(writer_->logged_sequence(), 3u);
    EXPECT_EQ(writer_->tail_after(1).sequence, 4u);
}

TEST_F(LogWriterTest, KeepsTheReserveFree) {
    // 4 MiB of ring, 1 MiB of it reserved: 768 blocks.
    append(255);
    append(255);
    EXPECT_TRUE(writer_->has_room(256 * kBlockSize));
    EXPECT_FALSE(writer_->has_room(257 * kBlockSize));
    append(255);
    EXPECT_EQ(writer_->bytes_used(), layout_.log_size - kLogReserve);
    EXPECT_FALSE(writer_->has_room(kBlockSize));
}

TEST_F(LogWriterTest, ABatchThatDoesNotFitBeforeTheEndGoesToTheStart) {
    tail_.ring_offset = layout_.log_size - 4 * kBlockSize;
    start_at(tail_);
    append(3);
    EXPECT_EQ(disk_.held[0]->offset, kLogOffset + layout_.log_size - 4 * kBlockSize);
    EXPECT_EQ(writer_->head(), layout_.log_size);
    append(1);
    EXPECT_EQ(disk_.held[1]->offset, kLogOffset);
    EXPECT_EQ(writer_->bytes_used(), 6 * kBlockSize);
    complete(0);
    complete(1);
    EXPECT_EQ(writer_->tail_after(1).ring_offset, 0u);
    EXPECT_EQ(writer_->tail_after(2).ring_offset, 2 * kBlockSize);
}

TEST_F(LogWriterTest, SkippedSpaceIsPaidForAndComesBack) {
    tail_.ring_offset = layout_.log_size - 4 * kBlockSize;
    start_at(tail_);
    append(4);
    EXPECT_EQ(disk_.held[0]->offset, kLogOffset);
    EXPECT_EQ(writer_->bytes_used(), 9 * kBlockSize);
    complete(0);
    writer_->release(1);
    EXPECT_EQ(writer_->bytes_used(), 0u);
    EXPECT_EQ(writer_->tail_after(0).ring_offset, 5 * kBlockSize);
}

TEST_F(LogWriterTest, TheTailNamesTheOldestBatchThatStays) {
    const uint64_t start_hash = chain_.place.previous_hash;
    std::vector<BatchRef> batches;
    for (int i = 0; i < 3; ++i) {
        batches.push_back(chain_.next_write(0, 2));
        append(batches.back());
        complete(static_cast<size_t>(i));
    }
    EXPECT_EQ(writer_->tail_after(0).sequence, 1u);
    EXPECT_EQ(writer_->tail_after(0).previous_hash, start_hash);
    EXPECT_EQ(writer_->tail_after(2).ring_offset, 6 * kBlockSize);
    EXPECT_EQ(writer_->tail_after(2).sequence, 3u);
    EXPECT_EQ(writer_->tail_after(2).previous_hash, batches[1]->hash());
    EXPECT_EQ(writer_->tail_after(3).ring_offset, 9 * kBlockSize);
    EXPECT_EQ(writer_->tail_after(3).sequence, 4u);
    EXPECT_EQ(writer_->tail_after(3).previous_hash, batches[2]->hash());
}

TEST_F(LogWriterTest, ReleasedRecordsGiveTheirSpaceBackInOrder) {
    for (size_t i = 0; i < 3; ++i) {
        append(static_cast<uint32_t>(i + 1));
        complete(i);
    }
    writer_->release(2);
    ASSERT_EQ(writer_->records().size(), 1u);
    EXPECT_EQ(writer_->records().front().batch->first_sequence(), 3u);
    EXPECT_EQ(writer_->bytes_used(), 4 * kBlockSize);
    EXPECT_EQ(writer_->logged_sequence(), 3u);
    append(1);
    complete(3);
    EXPECT_EQ(writer_->logged_sequence(), 4u);
    writer_->release(2);
    EXPECT_EQ(writer_->bytes_used(), 0u);
}

TEST_F(LogWriterTest, AdoptedBatchesAreLoggedAlready) {
    const BatchRef first = chain_.next_write(0, 2);
    writer_->adopt(first, 0);
    EXPECT_EQ(writer_->logged_sequence(), 1u);
    EXPECT_TRUE(disk_.held.empty());
    append(1);
    EXPECT_EQ(disk_.held[0]->offset, kLogOffset + 3 * kBlockSize);
    EXPECT_EQ(writer_->bytes_used(), 5 * kBlockSize);
}

TEST_F(LogWriterTest, SettlementMayUseTheReserve) {
    for (uint64_t used = 0; used + 256 * kBlockSize <= layout_.log_size; used += 256 * kBlockSize) {
        writer_->adopt(chain_.next_write(0, 255), used);
    }
    EXPECT_EQ(writer_->bytes_used(), layout_.log_size);
}

TEST_F(LogWriterTest, ARestartChainsFromTheNewEpoch) {
    writer_->restart(4711);
    EXPECT_EQ(writer_->tail_after(0).previous_hash, 4711u);
    EXPECT_EQ(writer_->tail_after(0).sequence, 1u);
}

// Many laps: places never overlap what is still live, and the reserve always stays.
TEST_F(LogWriterTest, LiveBatchesNeverOverlapInAnyLap) {
    sim::Random random(9);
    size_t completed = 0;
    for (int step = 0; step < 800; ++step) {
        const auto blocks = static_cast<uint32_t>(random.skewed(1, 256));
        const bool room = writer_->has_room((1 + uint64_t{blocks}) * kBlockSize);
        if (room && random.below(3) != 0) {
            append(blocks);
        } else {
            for (; completed < disk_.held.size(); ++completed) {
                complete(completed);
                requests_[completed]->batch.reset();
            }
            writer_->release(random.below(writer_->records().size() + 1));
        }
        uint64_t live = 0;
        std::map<uint64_t, uint64_t> places;
        for (const LogWriter::Record& record : writer_->records()) {
            const auto next = places.lower_bound(record.offset);
            ASSERT_TRUE(next == places.end() ||
                        next->first >= record.offset + record.batch->size());
            ASSERT_TRUE(next == places.begin() || std::prev(next)->second <= record.offset);
            ASSERT_LE(record.offset + record.batch->size(), layout_.log_size);
            places[record.offset] = record.offset + record.batch->size();
            live += record.cost;
        }
        ASSERT_EQ(live, writer_->bytes_used());
        ASSERT_LE(live, layout_.log_size - kLogReserve);
    }
}

}  // namespace
}  // namespace gemel::blockdev
