// SPDX-License-Identifier: Apache-2.0
//
// Where a batch goes in the ring, and what that costs.
#include "blockdev/log_ring.h"

#include <gtest/gtest.h>

namespace gemel::blockdev {
namespace {

constexpr uint64_t kRing = 64 * kBlockSize;

TEST(LogRing, ABatchThatFitsBeforeTheEndGoesWhereTheHeadIs) {
    EXPECT_EQ(ring_place(kRing, 0, kBlockSize), 0u);
    EXPECT_EQ(ring_place(kRing, 60 * kBlockSize, 4 * kBlockSize), 60 * kBlockSize);
    EXPECT_EQ(ring_cost(kRing, 60 * kBlockSize, 4 * kBlockSize), 4 * kBlockSize);
}

TEST(LogRing, OneThatDoesNotFitGoesToTheStartAndPaysForWhatIsSkipped) {
    EXPECT_EQ(ring_place(kRing, 60 * kBlockSize, 5 * kBlockSize), 0u);
    EXPECT_EQ(ring_cost(kRing, 60 * kBlockSize, 5 * kBlockSize), 9 * kBlockSize);
    EXPECT_EQ(ring_place(kRing, kRing, kBlockSize), 0u);
    EXPECT_EQ(ring_cost(kRing, kRing, kBlockSize), kBlockSize);
}

TEST(LogRing, NoBatchEverWrapsAndNoByteIsCountedTwice) {
    for (uint64_t head = 0; head <= 64; ++head) {
        for (uint64_t blocks = 1; blocks <= 64; ++blocks) {
            const uint64_t at = head * kBlockSize;
            const uint64_t bytes = blocks * kBlockSize;
            const uint64_t place = ring_place(kRing, at, bytes);
            EXPECT_LE(place + bytes, kRing);
            const uint64_t skipped = place == at ? 0 : kRing - at;
            EXPECT_EQ(ring_cost(kRing, at, bytes), bytes + skipped);
        }
    }
}

TEST(LogRing, ALinkAcceptsOnlyItsOwnSuccessor) {
    BatchHeader header{};
    header.epoch_id.bytes[0] = 1;
    header.first_sequence = 10;
    header.previous_hash = 77;
    ChainLink link{header.epoch_id, 10, 77};
    EXPECT_TRUE(link.accepts(header));
    link.sequence = 11;
    EXPECT_FALSE(link.accepts(header));
    link = {header.epoch_id, 10, 78};
    EXPECT_FALSE(link.accepts(header));
    link = {Uuid{}, 10, 77};
    EXPECT_FALSE(link.accepts(header));
}

}  // namespace
}  // namespace gemel::blockdev
