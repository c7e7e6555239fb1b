// SPDX-License-Identifier: Apache-2.0
//
// The overlay against a plain map, through growth, overwrites, zeroed ranges and removal.
#include "blockdev/overlay.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

// The same, the slow way: everything that was ever entered, newest last.
class Model {
public:
    void write(uint64_t block, uint64_t sequence) { versions_[block].push_back({sequence, false}); }
    void zero(uint64_t block, uint64_t sequence) { versions_[block].push_back({sequence, true}); }
    void forget_up_to(uint64_t sequence) {
        for (auto& [block, versions] : versions_) {
            std::erase_if(versions, [=](const Version& v) { return v.sequence <= sequence; });
        }
    }

    struct Version {
        uint64_t sequence = 0;
        bool zero = false;
    };
    const Version* newest(uint64_t block) const {
        const auto found = versions_.find(block);
        if (found == versions_.end() || found->second.empty()) return nullptr;
        return &found->second.back();
    }
    uint64_t newest_zero(uint64_t block) const {
        const auto found = versions_.find(block);
        uint64_t sequence = 0;
        if (found == versions_.end()) return 0;
        for (const Version& version : found->second) {
            if (version.zero) sequence = version.sequence;
        }
        return sequence;
    }

private:
    std::map<uint64_t, std::vector<Version>> versions_;
};

uint64_t tag_of(const std::byte* data) {
    uint64_t tag = 0;
    std::memcpy(&tag, data, sizeof tag);
    return tag;
}

class OverlayTest : public ::testing::Test {
protected:
    static constexpr uint64_t kBlocks = 3000;

    // Both get the batch; its blocks carry their sequence number and their own.
    void insert(std::vector<BatchWrite> writes) {
        uint64_t sequence = chain_.place.first_sequence;
        std::vector<AlignedBytes> memory;
        for (BatchWrite& write : writes) {
            for (uint64_t i = 0; i < write.block_count; ++i) {
                if (write.kind == EntryKind::write) model_.write(write.first_block + i, sequence);
                if (write.kind == EntryKind::trim || write.kind == EntryKind::write_zeroes) {
                    model_.zero(write.first_block + i, sequence);
                }
            }
            if (write.kind == EntryKind::write) {
                memory.push_back(tagged_blocks(sequence, write.block_count));
                write.data = memory.back().get();
            }
            ++sequence;
        }
        batches_.push_back(chain_.next(writes));
        overlay_.insert(*batches_.back());
    }

    void insert_random(sim::Random& random) {
        std::vector<BatchWrite> writes;
        const uint64_t count = random.between(1, 6);
        for (uint64_t i = 0; i < count; ++i) {
            const uint64_t first = random.below(kBlocks);
            const uint64_t left = kBlocks - first;
            if (random.chance(150'000)) {
                const uint64_t length = random.skewed(1, std::min<uint64_t>(left, 700));
                const EntryKind kind = random.coin() ? EntryKind::trim : EntryKind::write_zeroes;
                writes.push_back({kind, first, static_cast<uint32_t>(length), nullptr});
            } else {
                const uint64_t length = random.skewed(1, std::min<uint64_t>(left, 16));
                writes.push_back({EntryKind::write, first, static_cast<uint32_t>(length), nullptr});
            }
        }
        insert(std::move(writes));
    }

    // What the checkpoint does: brings the oldest `count` batches home and forgets them.
    void bring_home(size_t count) {
        Overlay slice;
        for (size_t i = 0; i < count; ++i) slice.insert(*batches_[i]);
        const uint64_t last = batches_[count - 1]->last_sequence();
        overlay_.remove(slice, last);
        model_.forget_up_to(last);
        batches_.erase(batches_.begin(), batches_.begin() + static_cast<ptrdiff_t>(count));
    }

    void check_finds() {
        for (uint64_t block = 0; block < kBlocks; ++block) {
            const Model::Version* expected = model_.newest(block);
            const std::optional<BlockVersion> found = overlay_.find(block);
            ASSERT_EQ(found.has_value(), expected != nullptr) << block;
            ASSERT_EQ(overlay_.misses(block, 1), expected == nullptr) << block;
            if (expected == nullptr) continue;
            ASSERT_EQ(found->sequence, expected->sequence) << block;
            ASSERT_EQ(found->data == nullptr, expected->zero) << block;
            if (found->data == nullptr) continue;
            ASSERT_EQ(tag_of(found->data), expected->sequence) << block;
            ASSERT_EQ(found->checksum, chain_.hasher.checksum(block, found->data)) << block;
        }
    }
    void check_lists() {
        std::set<uint64_t> listed;
        uint64_t previous = 0;
        for (const Overlay::Block& block : overlay_.sorted_blocks()) {
            ASSERT_TRUE(listed.empty() || block.number > previous);
            previous = block.number;
            listed.insert(block.number);
            const Model::Version* expected = model_.newest(block.number);
            ASSERT_TRUE(expected != nullptr && !expected->zero) << block.number;
            ASSERT_EQ(block.version.sequence, expected->sequence);
        }
        for (uint64_t block = 0; block < kBlocks; ++block) {
            const Model::Version* expected = model_.newest(block);
            ASSERT_EQ(listed.contains(block), expected != nullptr && !expected->zero) << block;
        }
        std::map<uint64_t, uint64_t> zeroed;
        uint64_t end = 0;
        for (const ZeroRange& range : overlay_.zero_ranges()) {
            ASSERT_GE(range.first_block, end);
            ASSERT_LT(range.first_block, range.end_block);
            end = range.end_block;
            for (uint64_t b = range.first_block; b < end; ++b) zeroed[b] = range.sequence;
        }
        for (uint64_t block = 0; block < kBlocks; ++block) {
            const uint64_t expected = model_.newest_zero(block);
            ASSERT_EQ(zeroed.contains(block) ? zeroed[block] : 0, expected) << block;
        }
    }

    ChainMaker chain_;
    std::vector<BatchRef> batches_;
    Overlay overlay_;
    Model model_;
};

TEST_F(OverlayTest, BehavesLikeAMapUnderRandomWritesAndRemoval) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        sim::Random random(seed);
        for (int round = 0; round < 12; ++round) {
            const uint64_t inserts = random.between(20, 120);
            for (uint64_t i = 0; i < inserts; ++i) insert_random(random);
            check_finds();
            check_lists();
            bring_home(random.between(1, batches_.size()));
            check_finds();
            check_lists();
            ASSERT_FALSE(HasFatalFailure()) << "seed " << seed << ", round " << round;
        }
        bring_home(batches_.size());
        EXPECT_TRUE(overlay_.empty());
        EXPECT_EQ(overlay_.block_count(), 0u);
    }
}

TEST_F(OverlayTest, KeepsEveryBlockWhileItsTableGrows) {
    for (uint64_t block = 0; block < kBlocks; block += 100) {
        insert({{EntryKind::write, block, 100, nullptr}});
        EXPECT_EQ(overlay_.block_count(), block + 100);
    }
    check_finds();
}

TEST_F(OverlayTest, FindsWhatStaysWhenNeighboursAreDeleted) {
    // Nearly full, so that most blocks stand far from where they hash to.
    for (uint64_t block = 0; block < 760; block += 10) {
        insert({{EntryKind::write, block, 10, nullptr}});
    }
    while (!batches_.empty()) {
        bring_home(1);
        check_finds();
        ASSERT_FALSE(HasFatalFailure());
    }
    EXPECT_TRUE(overlay_.empty());
}

TEST_F(OverlayTest, AnEmptyOverlayMissesEverything) {
    EXPECT_TRUE(overlay_.empty());
    EXPECT_TRUE(overlay_.misses(0, UINT64_MAX));
    EXPECT_FALSE(overlay_.find(0).has_value());
    EXPECT_FALSE(overlay_.next_zero_range(0).has_value());
    EXPECT_TRUE(overlay_.sorted_blocks().empty());
}

TEST_F(OverlayTest, ANewerZeroHidesABlockAndANewerBlockHidesAZero) {
    insert({{EntryKind::write, 10, 3, nullptr}});
    insert({{EntryKind::trim, 11, 1, nullptr}});
    EXPECT_NE(overlay_.find(10)->data, nullptr);
    EXPECT_EQ(overlay_.find(11)->data, nullptr);
    EXPECT_EQ(overlay_.find(11)->sequence, 2u);
    EXPECT_EQ(overlay_.find(11)->checksum, 0u);
    insert({{EntryKind::write, 11, 1, nullptr}});
    EXPECT_EQ(tag_of(overlay_.find(11)->data), 3u);
    // Both lists have it: the range is cleared first, the block written after.
    EXPECT_EQ(overlay_.sorted_blocks().size(), 3u);
    ASSERT_EQ(overlay_.zero_ranges().size(), 1u);
}

TEST_F(OverlayTest, TheOrderWithinOneBatchCounts) {
    insert({{EntryKind::trim, 5, 2, nullptr}, {EntryKind::write, 5, 1, nullptr}});
    insert({{EntryKind::write, 7, 1, nullptr}, {EntryKind::trim, 7, 1, nullptr}});
    EXPECT_EQ(tag_of(overlay_.find(5)->data), 2u);
    EXPECT_EQ(overlay_.find(6)->data, nullptr);
    EXPECT_EQ(overlay_.find(7)->data, nullptr);
}

TEST_F(OverlayTest, ANewZeroRangeCutsOlderOnes) {
    insert({{EntryKind::trim, 0, 100, nullptr}});
    insert({{EntryKind::write_zeroes, 40, 20, nullptr}});
    const std::vector<ZeroRange> ranges = overlay_.zero_ranges();
    ASSERT_EQ(ranges.size(), 3u);
    EXPECT_EQ(ranges[0].end_block, 40u);
    EXPECT_FALSE(ranges[0].keep_allocated);
    EXPECT_EQ(ranges[1].first_block, 40u);
    EXPECT_EQ(ranges[1].end_block, 60u);
    EXPECT_TRUE(ranges[1].keep_allocated);
    EXPECT_EQ(ranges[2].first_block, 60u);
    EXPECT_EQ(ranges[2].end_block, 100u);
    EXPECT_EQ(ranges[2].sequence, 1u);
}

TEST_F(OverlayTest, NextZeroRangeIsTheCoveringOneOrTheNext) {
    insert({{EntryKind::trim, 10, 10, nullptr}, {EntryKind::trim, 30, 5, nullptr}});
    EXPECT_EQ(overlay_.next_zero_range(0)->first_block, 10u);
    EXPECT_EQ(overlay_.next_zero_range(19)->first_block, 10u);
    EXPECT_EQ(overlay_.next_zero_range(20)->first_block, 30u);
    EXPECT_EQ(overlay_.next_zero_range(34)->first_block, 30u);
    EXPECT_FALSE(overlay_.next_zero_range(35).has_value());
}

TEST_F(OverlayTest, AHugeTrimTakesOneRange) {
    overlay_.insert(*chain_.next({{EntryKind::trim, 1ull << 40, UINT32_MAX, nullptr}}));
    EXPECT_EQ(overlay_.zero_ranges().size(), 1u);
    EXPECT_EQ(overlay_.block_count(), 0u);
    EXPECT_EQ(overlay_.find((1ull << 40) + UINT32_MAX - 1)->data, nullptr);
    EXPECT_TRUE(overlay_.misses((1ull << 40) + UINT32_MAX, 1000));
}

TEST_F(OverlayTest, RemovalKeepsWhatWasWrittenAgainSince) {
    insert({{EntryKind::write, 1, 2, nullptr}});
    insert({{EntryKind::trim, 10, 10, nullptr}});
    Overlay home;
    home.insert(*batches_[0]);
    home.insert(*batches_[1]);
    insert({{EntryKind::write, 2, 1, nullptr}});
    insert({{EntryKind::trim, 15, 2, nullptr}});
    overlay_.remove(home, 2);
    EXPECT_FALSE(overlay_.find(1).has_value());
    EXPECT_EQ(overlay_.find(2)->sequence, 3u);
    EXPECT_FALSE(overlay_.find(10).has_value());
    EXPECT_EQ(overlay_.find(15)->sequence, 4u);
    EXPECT_FALSE(overlay_.find(17).has_value());
}

TEST_F(OverlayTest, ABatchOfPointsEntersNothing) {
    insert({{EntryKind::none, 0, 0, nullptr}});
    EXPECT_TRUE(overlay_.empty());
}

}  // namespace
}  // namespace gemel::blockdev
