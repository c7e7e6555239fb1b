// SPDX-License-Identifier: Apache-2.0
//
// The plan of a write against the bytes it is about, for every small offset and length.
#include "mirror/write_plan.h"

#include <gtest/gtest.h>

#include <vector>

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

// What the plan says about each byte of the first blocks: how often it is covered, and by data from
// which place of the request.
void expect_exact(uint64_t offset, uint64_t length) {
    const WritePlan plan = plan_write(offset, length, 64 << 10);
    const uint64_t head_begin = plan.head_block * kBlockSize + plan.head_offset;
    const uint64_t middle_begin = plan.middle_first * kBlockSize;
    const uint64_t tail_begin = plan.tail_block * kBlockSize;
    uint64_t at = offset;
    if (plan.head_bytes != 0) {
        ASSERT_EQ(head_begin, at);
        ASSERT_LE(plan.head_offset + plan.head_bytes, kBlockSize);
        ASSERT_LT(plan.head_bytes, kBlockSize);
        at += plan.head_bytes;
    }
    if (plan.middle_blocks != 0) {
        ASSERT_EQ(middle_begin, at);
        at += plan.middle_blocks * kBlockSize;
    }
    if (plan.tail_bytes != 0) {
        ASSERT_EQ(tail_begin, at);
        ASSERT_LT(plan.tail_bytes, kBlockSize);
        at += plan.tail_bytes;
    }
    ASSERT_EQ(at, offset + length);
    // Head and tail are never the same block: each is completed from its own base.
    if (plan.head_bytes != 0 && plan.tail_bytes != 0) {
        ASSERT_LT(plan.head_block, plan.tail_block);
    }
}

TEST(WritePlan, CoversEveryByteOnceForAllSmallRanges) {
    for (uint64_t offset = 0; offset <= 2 * kBlockSize; offset += offset % 512 == 0 ? 1 : 511) {
        for (const uint64_t blocks : {0, 1, 2, 3}) {
            for (int64_t off = -3; off <= 3; ++off) {
                for (const uint64_t shift : {uint64_t{0}, offset % kBlockSize, uint64_t{2048}}) {
                    const int64_t length = static_cast<int64_t>(blocks * kBlockSize + shift) + off;
                    if (length > 0) expect_exact(offset, static_cast<uint64_t>(length));
                    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << offset << "+" << length;
                }
            }
        }
    }
}

TEST(WritePlan, CoversEveryLengthFromAnyPlaceNearABoundary) {
    for (const uint64_t offset : {0, 1, 4095, 4096, 4097, 8191}) {
        for (uint64_t length = 1; length <= 3 * kBlockSize; ++length) {
            expect_exact(offset, length);
            ASSERT_FALSE(::testing::Test::HasFatalFailure()) << offset << "+" << length;
        }
    }
}

TEST(WritePlan, WholeBlocksHaveNeitherHeadNorTail) {
    const WritePlan plan = plan_write(8192, 3 * kBlockSize, 64 << 10);
    EXPECT_EQ(plan.head_bytes, 0u);
    EXPECT_EQ(plan.tail_bytes, 0u);
    EXPECT_EQ(plan.middle_first, 2u);
    EXPECT_EQ(plan.middle_blocks, 3u);
}

TEST(WritePlan, ARangeInsideOneBlockIsAHead) {
    const WritePlan plan = plan_write(4096 + 100, 200, 64 << 10);
    EXPECT_EQ(plan.head_block, 1u);
    EXPECT_EQ(plan.head_offset, 100u);
    EXPECT_EQ(plan.head_bytes, 200u);
    EXPECT_EQ(plan.middle_blocks, 0u);
    EXPECT_EQ(plan.tail_bytes, 0u);
    const WritePlan beginning = plan_write(4096, 200, 64 << 10);
    EXPECT_EQ(beginning.head_bytes, 200u);
    EXPECT_EQ(beginning.head_offset, 0u);
    EXPECT_EQ(beginning.tail_bytes, 0u);
}

TEST(WritePlan, IsAtomicUpToTheLimit) {
    EXPECT_TRUE(plan_write(0, 65536, 65536).atomic);
    EXPECT_TRUE(plan_write(100, 65536, 65536).atomic);
    EXPECT_FALSE(plan_write(0, 65537, 65536).atomic);
}

// An atomic write fits one batch, wherever it begins.
TEST(WritePlan, AnAtomicWriteAlwaysFitsOneBatch) {
    constexpr uint64_t kLargestLimit = 512 << 10;
    for (const uint64_t offset : {0, 1, 4095}) {
        const WritePlan plan = plan_write(offset, kLargestLimit, kLargestLimit);
        EXPECT_LE(plan.middle_blocks + 2, blockdev::kMaximumPayloadBlocks);
    }
}

}  // namespace
}  // namespace gemel::mirror
