// SPDX-License-Identifier: Apache-2.0
//
// Sizes, reuse and bounds of the pool of aligned buffers.
#include "blockdev/buffer_pool.h"

#include <gtest/gtest.h>

#include "blockdev/disk_format.h"

namespace gemel::blockdev {
namespace {

constexpr size_t kLargest = 2 << 20;
static_assert(kLargest >= kMaximumBatchSize);

TEST(BufferPool, EverySizeFitsAndWastesAtMostANinth) {
    BufferPool pool(64 << 20);
    for (size_t size = 1; size <= kLargest; ++size) {
        const BufferPool::Buffer buffer = pool.take(size);
        const size_t got = pool.bytes_in_use();
        ASSERT_GE(got, size);
        ASSERT_EQ(got % kIoAlignment, 0u);
        if (size <= 8 * kIoAlignment) {
            ASSERT_LT(got - size, kIoAlignment) << size;
        } else {
            ASSERT_LE(got * 8, size * 9) << size;
        }
    }
    EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPool, AllOfABufferCanBeUsed) {
    BufferPool pool(0);
    for (const size_t size : {size_t{1}, size_t{4097}, size_t{16385}, size_t{1} << 20, kLargest}) {
        const BufferPool::Buffer buffer = pool.take(size);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.get()) % kIoAlignment, 0u);
        std::memset(buffer.get(), 0x5a, pool.bytes_in_use());
    }
}

TEST(BufferPool, NoSizeStillGivesABuffer) {
    BufferPool pool(0);
    const BufferPool::Buffer buffer = pool.take(0);
    EXPECT_NE(buffer.get(), nullptr);
}

TEST(BufferPool, UsesAFreedBufferAgain) {
    BufferPool pool(1 << 20);
    BufferPool::Buffer first = pool.take(5000);
    const std::byte* memory = first.get();
    first.reset();
    const BufferPool::Buffer second = pool.take(8192);
    EXPECT_EQ(second.get(), memory);
    const BufferPool::Buffer third = pool.take(8192);
    EXPECT_NE(third.get(), memory);
}

TEST(BufferPool, BuffersInUseDoNotOverlap) {
    BufferPool pool(1 << 20);
    std::vector<BufferPool::Buffer> buffers;
    for (int round = 0; round < 3; ++round) {
        buffers.clear();
        for (int i = 0; i < 40; ++i) {
            buffers.push_back(pool.take(static_cast<size_t>(i) * 1000 + 1));
            std::memset(buffers.back().get(), i, static_cast<size_t>(i) * 1000 + 1);
        }
        for (int i = 0; i < 40; ++i) {
            const std::byte* bytes = buffers[static_cast<size_t>(i)].get();
            EXPECT_EQ(bytes[0], static_cast<std::byte>(i));
            EXPECT_EQ(bytes[i * 1000], static_cast<std::byte>(i));
        }
    }
}

TEST(BufferPool, CountsWhatIsInUse) {
    BufferPool pool(1 << 20);
    BufferPool::Buffer a = pool.take(4096);
    BufferPool::Buffer b = pool.take(20480);
    EXPECT_EQ(pool.bytes_in_use(), 4096u + 20480u);
    a.reset();
    EXPECT_EQ(pool.bytes_in_use(), 20480u);
    b.reset();
    pool.trim();
    EXPECT_EQ(pool.bytes_in_use(), 0u);
    const BufferPool::Buffer again = pool.take(4096);
    EXPECT_EQ(pool.bytes_in_use(), 4096u);
}

TEST(BufferPool, KeepsOnlyWhatIsWithinItsLimit) {
    BufferPool pool(5 * 4096);
    BufferPool::Buffer two = pool.take(2 * 4096);
    BufferPool::Buffer three = pool.take(3 * 4096);
    EXPECT_TRUE(pool.full());
    BufferPool::Buffer one = pool.take(4096);
    one.reset();
    EXPECT_EQ(pool.bytes_kept(), 0u);
    three.reset();
    EXPECT_FALSE(pool.full());
    EXPECT_EQ(pool.bytes_kept(), 3u * 4096);
    // The free one of another size makes way.
    const BufferPool::Buffer another = pool.take(2 * 4096);
    EXPECT_EQ(pool.bytes_kept(), 0u);
    EXPECT_EQ(pool.bytes_in_use(), 4u * 4096);
}

TEST(BufferPool, WhatWentBackToTheSystemComesBackEmpty) {
    BufferPool pool(1 << 20);
    BufferPool::Buffer buffer = pool.take(4096);
    std::memset(buffer.get(), 0x5a, 4096);
    buffer.reset();
    pool.trim();
    buffer = pool.take(4096);
    EXPECT_TRUE(all_zero({buffer.get(), 4096}));
}

}  // namespace
}  // namespace gemel::blockdev
