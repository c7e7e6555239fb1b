// SPDX-License-Identifier: Apache-2.0
#include "blockdev/bytes.h"

#include <cstdint>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace gemel {
namespace {

template <typename T>
std::vector<unsigned> raw(const T& stored) {
    std::vector<unsigned> out;
    for (std::byte byte : bytes_of(stored)) out.push_back(std::to_integer<unsigned>(byte));
    return out;
}

TEST(Stored, LittleEndianLaysTheLowByteFirst) {
    EXPECT_EQ(raw(le16(0x0102)), (std::vector<unsigned>{2, 1}));
    EXPECT_EQ(raw(le32(0x01020304)), (std::vector<unsigned>{4, 3, 2, 1}));
    EXPECT_EQ(raw(le64(0x0102030405060708)), (std::vector<unsigned>{8, 7, 6, 5, 4, 3, 2, 1}));
}

TEST(Stored, BigEndianLaysTheHighByteFirst) {
    EXPECT_EQ(raw(be16(0x0102)), (std::vector<unsigned>{1, 2}));
    EXPECT_EQ(raw(be32(0x01020304)), (std::vector<unsigned>{1, 2, 3, 4}));
    EXPECT_EQ(raw(be64(0x0102030405060708)), (std::vector<unsigned>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(Stored, ReadsBackWhatWasWrittenAtTheExtremes) {
    for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 63, UINT64_MAX}) {
        EXPECT_EQ(le64(value).get(), value);
        EXPECT_EQ(be64(value).get(), value);
    }
    EXPECT_EQ(be32(UINT32_MAX).get(), UINT32_MAX);
    EXPECT_EQ(le16(UINT16_MAX).get(), UINT16_MAX);
}

TEST(Stored, WorksAtAnyAddress) {
    struct Packed {
        uint8_t first;
        le32 second;
        be64 third;
    };
    static_assert(sizeof(Packed) == 13);
    Packed packed{1, 0xdeadbeef, 0x0123456789abcdef};
    EXPECT_EQ(packed.second.get(), 0xdeadbeefu);
    EXPECT_EQ(packed.third.get(), 0x0123456789abcdefu);
}

TEST(AlignedBytes, AreAlignedForDirectIo) {
    for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, size_t{1} << 20}) {
        const AlignedBytes memory = allocate_aligned(size);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % kIoAlignment, 0u) << size;
    }
}

TEST(AlignedBytes, AreZeroWhereAsked) {
    const AlignedBytes memory = allocate_zeroed(12345);
    EXPECT_TRUE(all_zero({memory.get(), 12345}));
}

TEST(AllZero, IsTrueForNothing) { EXPECT_TRUE(all_zero({})); }

TEST(AllZero, NoticesASingleBitAnywhere) {
    std::vector<std::byte> data(4096);
    ASSERT_TRUE(all_zero(data));
    for (size_t i : {size_t{0}, size_t{1}, size_t{2047}, size_t{4094}, size_t{4095}}) {
        data[i] = std::byte{0x80};
        EXPECT_FALSE(all_zero(data)) << i;
        data[i] = std::byte{0};
    }
    EXPECT_FALSE(all_zero(std::vector<std::byte>(1, std::byte{1})));
    EXPECT_TRUE(all_zero(std::vector<std::byte>(1)));
}

TEST(AllZero, IsNotFooledByEqualBytes) {
    EXPECT_FALSE(all_zero(std::vector<std::byte>(4096, std::byte{0xff})));
}

TEST(BytesOf, SeesAndChangesTheWholeStruct) {
    struct Plain {
        le32 a;
        le32 b;
    };
    Plain plain{1, 2};
    EXPECT_EQ(bytes_of(plain).size(), 8u);
    writable_bytes_of(plain)[4] = std::byte{9};
    EXPECT_EQ(plain.b.get(), 9u);
}

TEST(CheckedAdd, GivesNothingWhereTheSumDoesNotFit) {
    EXPECT_EQ(checked_add(1, 2), 3u);
    EXPECT_EQ(checked_add(UINT64_MAX, 0), UINT64_MAX);
    EXPECT_EQ(checked_add(UINT64_MAX, 1), std::nullopt);
    EXPECT_EQ(checked_add(UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 1), std::nullopt);
}

TEST(Rounding, GoesToMultiples) {
    EXPECT_EQ(divide_up(0, 4096), 0u);
    EXPECT_EQ(divide_up(1, 4096), 1u);
    EXPECT_EQ(divide_up(4096, 4096), 1u);
    EXPECT_EQ(divide_up(UINT64_MAX, 4096), (UINT64_MAX >> 12) + 1);
    EXPECT_EQ(round_up(4097, 4096), 8192u);
    EXPECT_EQ(round_down(8191, 4096), 4096u);
    EXPECT_EQ(round_down(4095, 4096), 0u);
}

}  // namespace
}  // namespace gemel
