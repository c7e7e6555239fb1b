// SPDX-License-Identifier: Apache-2.0
//
// Batches: what goes in comes out, and nothing that is not a batch passes for one.
#include "blockdev/batch.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

constexpr uint64_t kVolumeBlocks = 10'000;

AlignedBytes copy_of(const Batch& batch) {
    AlignedBytes bytes = allocate_aligned(batch.size());
    std::memcpy(bytes.get(), batch.bytes().data(), batch.size());
    return bytes;
}

// Makes the checksum of a header block right again after a change.
void reseal(std::byte* block) {
    auto& header = *reinterpret_cast<BatchHeader*>(block);
    header.checksum = ecc::hash64({block + sizeof(le64), kBlockSize - sizeof(le64)});
}

const char* fault_of(const std::byte* block) {
    return batch_header_fault({block, kBlockSize}, fixed_uuid(0xa0), kVolumeBlocks);
}

TEST(Batch, CarriesItsWritesAndItsPlace) {
    ChainMaker chain;
    chain.place.first_sequence = 77;
    chain.place.commit_point = 70;
    chain.place.stable_point = 60;
    const AlignedBytes one = tagged_blocks(1, 2);
    const AlignedBytes two = tagged_blocks(2, 3);
    const uint64_t previous = chain.place.previous_hash;
    const BatchRef batch = chain.next({{EntryKind::write, 100, 2, one.get()},
                                       {EntryKind::trim, 500, 9000, nullptr},
                                       {EntryKind::write_zeroes, 7, 1, nullptr},
                                       {EntryKind::write, 9'997, 3, two.get()}});
    EXPECT_EQ(batch->first_sequence(), 77u);
    EXPECT_EQ(batch->last_sequence(), 80u);
    EXPECT_EQ(batch->size(), 6 * kBlockSize);
    EXPECT_EQ(batch->header().commit_point, 70u);
    EXPECT_EQ(batch->header().stable_point, 60u);
    EXPECT_EQ(batch->header().previous_hash, previous);
    EXPECT_EQ(batch->header().epoch_id, fixed_uuid(0xe0));
    ASSERT_EQ(batch->entries().size(), 4u);
    EXPECT_EQ(batch->entries()[1].first_block, 500u);
    EXPECT_EQ(batch->entries()[1].block_count, 9000u);
    EXPECT_EQ(batch->entries()[2].kind, static_cast<uint16_t>(EntryKind::write_zeroes));
    EXPECT_EQ(std::memcmp(batch->payload(0), one.get(), 2 * kBlockSize), 0);
    EXPECT_EQ(std::memcmp(batch->payload(2), two.get(), 3 * kBlockSize), 0);
    EXPECT_EQ(batch_header_fault(batch->bytes(), fixed_uuid(0xa0), kVolumeBlocks), nullptr);
    EXPECT_EQ(batch_payload_fault(batch->bytes(), chain.hasher), nullptr);
}

TEST(Batch, ReadBackItIsTheSame) {
    ChainMaker chain;
    const BatchRef batch = chain.next_write(5, 8);
    BufferPool pool(0);
    BufferPool::Buffer bytes = pool.take(batch->size());
    std::memcpy(bytes.get(), batch->bytes().data(), batch->size());
    const BatchRef back = Batch::adopt(std::move(bytes));
    EXPECT_EQ(back->size(), batch->size());
    EXPECT_EQ(back->hash(), batch->hash());
    EXPECT_EQ(back->last_sequence(), batch->last_sequence());
    EXPECT_EQ(std::memcmp(back->bytes().data(), batch->bytes().data(), batch->size()), 0);
}

TEST(Batch, TheSameInputGivesTheSameBytes) {
    ChainMaker a;
    ChainMaker b;
    const BatchRef first = a.next_write(5, 8);
    const BatchRef second = b.next_write(5, 8);
    EXPECT_EQ(std::memcmp(first->bytes().data(), second->bytes().data(), first->size()), 0);
}

TEST(Batch, ChecksumsBelongToTheBlockNumber) {
    ChainMaker chain;
    AlignedBytes same = allocate_zeroed(2 * kBlockSize);
    const BatchRef batch = chain.next({{EntryKind::write, 40, 2, same.get()}});
    EXPECT_NE(batch->payload_checksum(0), batch->payload_checksum(1));
    EXPECT_EQ(batch->payload_checksum(0), chain.hasher.checksum(40, same.get()));
    EXPECT_EQ(batch->payload_checksum(1), chain.hasher.checksum(41, same.get()));
}

TEST(Batch, FitsUpToItsBounds) {
    EXPECT_TRUE(batch_fits(1, kMaximumPayloadBlocks));
    EXPECT_FALSE(batch_fits(1, kMaximumPayloadBlocks + 1));
    EXPECT_TRUE(batch_fits(250, 0));
    EXPECT_FALSE(batch_fits(251, 0));
    EXPECT_TRUE(batch_fits(122, 256));
    EXPECT_FALSE(batch_fits(123, 256));
    EXPECT_FALSE(batch_fits(1, UINT64_MAX));
    // Whatever fits fills the header block and no more.
    for (size_t entries = 1; entries < 260; ++entries) {
        for (uint64_t blocks = 0; blocks <= 260; ++blocks) {
            const bool room = sizeof(BatchHeader) + entries * 16 + blocks * 8 <= kBlockSize;
            ASSERT_EQ(batch_fits(entries, blocks), room && blocks <= 256);
        }
    }
}

TEST(Batch, TheLargestBatchesSurvive) {
    ChainMaker chain;
    const BatchRef widest = chain.next_write(0, kMaximumPayloadBlocks);
    EXPECT_EQ(widest->size(), kMaximumBatchSize);
    EXPECT_EQ(fault_of(widest->bytes().data()), nullptr);
    EXPECT_EQ(batch_payload_fault(widest->bytes(), chain.hasher), nullptr);
    std::vector<BatchWrite> many;
    const AlignedBytes data = tagged_blocks(9, 1);
    for (uint64_t i = 0; i < 170; ++i) many.push_back({EntryKind::write, i * 3, 1, data.get()});
    ASSERT_FALSE(batch_fits(many.size(), many.size()));
    many.resize(167);
    ASSERT_TRUE(batch_fits(many.size(), many.size()));
    const BatchRef longest = chain.next(many);
    EXPECT_EQ(longest->entries().size(), 167u);
    EXPECT_EQ(fault_of(longest->bytes().data()), nullptr);
    EXPECT_EQ(batch_payload_fault(longest->bytes(), chain.hasher), nullptr);
}

TEST(Batch, AnyFlippedBitInTheHeaderBlockIsSeen) {
    ChainMaker chain;
    const AlignedBytes bytes = copy_of(*chain.next_write(5, 3));
    ASSERT_EQ(fault_of(bytes.get()), nullptr);
    for (size_t bit = 0; bit < kBlockSize * 8; ++bit) {
        bytes.get()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        ASSERT_NE(fault_of(bytes.get()), nullptr) << bit;
        bytes.get()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
}

TEST(Batch, AnyFlippedBitInThePayloadIsSeen) {
    ChainMaker chain;
    const BatchRef batch = chain.next_write(5, 2);
    const AlignedBytes bytes = copy_of(*batch);
    for (size_t bit = 0; bit < 2 * kBlockSize * 8; bit += 13) {
        std::byte& changed = bytes.get()[kBlockSize + bit / 8];
        changed ^= static_cast<std::byte>(1 << bit % 8);
        ASSERT_STREQ(batch_payload_fault({bytes.get(), batch->size()}, chain.hasher),
                     "payload checksum");
        changed ^= static_cast<std::byte>(1 << bit % 8);
    }
    EXPECT_EQ(batch_payload_fault({bytes.get(), batch->size()}, chain.hasher), nullptr);
}

TEST(Batch, SwappedPayloadBlocksAreSeen) {
    ChainMaker chain;
    const BatchRef batch = chain.next_write(5, 2);
    const AlignedBytes bytes = copy_of(*batch);
    std::memcpy(bytes.get() + kBlockSize, batch->payload(1), kBlockSize);
    std::memcpy(bytes.get() + 2 * kBlockSize, batch->payload(0), kBlockSize);
    EXPECT_NE(batch_payload_fault({bytes.get(), batch->size()}, chain.hasher), nullptr);
}

TEST(Batch, PayloadUnderAnotherVolumesSecretIsRefused) {
    ChainMaker chain;
    const BatchRef batch = chain.next_write(5, 2);
    ecc::VolumeSecret other = fixed_secret();
    other[0] ^= std::byte{1};
    EXPECT_NE(batch_payload_fault(batch->bytes(), ecc::BlockHasher(other)), nullptr);
}

// Each rule is broken alone, under a checksum that is right.
TEST(Batch, EveryBrokenRuleIsRefusedByName) {
    struct Case {
        const char* rule;
        void (*spoil)(BatchHeader&, LogEntry*);
    };
    const Case cases[] = {
        {"magic", [](BatchHeader& h, LogEntry*) { h.magic = 1; }},
        {"version", [](BatchHeader& h, LogEntry*) { h.version = 2; }},
        {"volume", [](BatchHeader& h, LogEntry*) { h.volume = fixed_uuid(1); }},
        {"reserved bytes", [](BatchHeader& h, LogEntry*) { h.reserved = 1; }},
        {"sizes", [](BatchHeader& h, LogEntry*) { h.entries = 0; }},
        {"sizes", [](BatchHeader& h, LogEntry*) { h.entries = 0xffff; }},
        {"sizes", [](BatchHeader& h, LogEntry*) { h.payload_blocks = 257; }},
        {"sizes", [](BatchHeader& h, LogEntry*) { h.payload_blocks = UINT32_MAX; }},
        {"sequence", [](BatchHeader& h, LogEntry*) { h.first_sequence = 0; }},
        {"sequence", [](BatchHeader& h, LogEntry*) { h.first_sequence = UINT64_MAX; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[0].block_count = 0; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[0].first_block = kVolumeBlocks; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[0].first_block = kVolumeBlocks - 1; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[0].first_block = UINT64_MAX; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[1].block_count = UINT32_MAX; }},
        {"entry range", [](BatchHeader&, LogEntry* e) { e[1].kind = 0; }},
        {"entry reserved bytes", [](BatchHeader&, LogEntry* e) { e[1].reserved = 9; }},
        {"entry kind", [](BatchHeader&, LogEntry* e) { e[1].kind = 5; }},
        {"entry kind", [](BatchHeader&, LogEntry* e) { e[1].kind = 0xffff; }},
        {"payload size", [](BatchHeader& h, LogEntry*) { h.payload_blocks = 3; }},
        {"payload size", [](BatchHeader&, LogEntry* e) { e[0].block_count = 1; }},
        {"payload size", [](BatchHeader&, LogEntry* e) { e[0].kind = 2; }},
    };
    ChainMaker chain;
    const AlignedBytes data = tagged_blocks(1, 2);
    const BatchRef good =
        chain.next({{EntryKind::write, 5, 2, data.get()}, {EntryKind::trim, 50, 10, nullptr}});
    for (const Case& one : cases) {
        const AlignedBytes bytes = copy_of(*good);
        auto* entries = reinterpret_cast<LogEntry*>(bytes.get() + sizeof(BatchHeader));
        one.spoil(*reinterpret_cast<BatchHeader*>(bytes.get()), entries);
        reseal(bytes.get());
        EXPECT_STREQ(fault_of(bytes.get()), one.rule);
    }
}

TEST(Batch, AnIntentIsRefusedByName) {
    ChainMaker chain;
    const AlignedBytes bytes = copy_of(*chain.next_write(5));
    auto* entry = reinterpret_cast<LogEntry*>(bytes.get() + sizeof(BatchHeader));
    entry->kind = static_cast<uint16_t>(EntryKind::intent);
    reseal(bytes.get());
    ASSERT_NE(fault_of(bytes.get()), nullptr);
    EXPECT_NE(std::string(fault_of(bytes.get())).find("intent"), std::string::npos);
}

TEST(Batch, RangesUpToTheVolumesEndPass) {
    ChainMaker chain;
    const BatchRef last = chain.next({{EntryKind::trim, 0, kVolumeBlocks, nullptr}});
    EXPECT_EQ(fault_of(last->bytes().data()), nullptr);
    EXPECT_STREQ(batch_header_fault(last->bytes(), fixed_uuid(0xa0), kVolumeBlocks - 1),
                 "entry range");
}

// Whatever stands in the block, its checksum right or not: an answer, and never a crash.
TEST(Batch, GarbageGetsAnAnswer) {
    sim::Random random(5);
    ChainMaker chain;
    const AlignedBytes bytes = copy_of(*chain.next_write(5, 2));
    size_t passed = 0;
    for (int i = 0; i < 4000; ++i) {
        const AlignedBytes garbage = allocate_zeroed(kBlockSize);
        std::memcpy(garbage.get(), bytes.get(), kBlockSize);
        const uint64_t changes = random.between(1, 3);
        for (uint64_t j = 0; j < changes; ++j) {
            const uint64_t value = random.coin() ? random.next() : random.below(300);
            std::memcpy(garbage.get() + random.below(40) * 4, &value, random.coin() ? 2 : 8);
        }
        if (random.coin()) reseal(garbage.get());
        if (fault_of(garbage.get()) == nullptr) ++passed;
    }
    EXPECT_LT(passed, 4000u);
}

TEST(Batch, OfPointsOnlyHasNoPayload) {
    ChainMaker chain;
    const BatchRef points = chain.next({BatchWrite{}});
    EXPECT_EQ(points->size(), kBlockSize);
    EXPECT_EQ(points->first_sequence(), points->last_sequence());
    EXPECT_EQ(fault_of(points->bytes().data()), nullptr);
    EXPECT_EQ(batch_payload_fault(points->bytes(), chain.hasher), nullptr);
}

}  // namespace
}  // namespace gemel::blockdev
