// SPDX-License-Identifier: Apache-2.0
#include "ecc/checksum.h"

#include <cstring>
#include <set>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace gemel::ecc {
namespace {

std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

VolumeSecret secret_of(unsigned value) {
    VolumeSecret secret{};
    for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::byte>(value + i);
    return secret;
}

std::vector<std::byte> pattern_block() {
    std::vector<std::byte> block(kBlockSize);
    for (size_t i = 0; i < kBlockSize; ++i) block[i] = static_cast<std::byte>(i * 7 + i / 256);
    return block;
}

// Published values of XXH3-64: what is on disk must never change with the library.
TEST(Hash64, IsXxh3) {
    EXPECT_EQ(hash64({}), 0x2d06800538d394c2u);
    EXPECT_EQ(hash64(bytes("a")), 0xe6c632b61e964e1fu);
    EXPECT_EQ(hash64(bytes("abc")), 0x78af5f94892f3950u);
}

TEST(Hash64, DependsOnTheSeed) {
    EXPECT_NE(hash64(bytes("gemel"), 1), hash64(bytes("gemel"), 2));
    EXPECT_EQ(hash64(bytes("gemel")), hash64(bytes("gemel"), 0));
}

TEST(Hash64, SeesEveryBitOfABlock) {
    std::vector<std::byte> block = pattern_block();
    const uint64_t good = hash64(block);
    for (size_t i = 0; i < kBlockSize; ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            block[i] ^= static_cast<std::byte>(1u << bit);
            ASSERT_NE(hash64(block), good) << "byte " << i << " bit " << bit;
            block[i] ^= static_cast<std::byte>(1u << bit);
        }
    }
}

TEST(BlockHasher, SeesEveryBitOfABlock) {
    const BlockHasher hasher(secret_of(1));
    std::vector<std::byte> block = pattern_block();
    const uint64_t good = hasher.checksum(12, block.data());
    for (size_t i = 0; i < kBlockSize; ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            block[i] ^= static_cast<std::byte>(1u << bit);
            ASSERT_NE(hasher.checksum(12, block.data()), good) << "byte " << i << " bit " << bit;
            block[i] ^= static_cast<std::byte>(1u << bit);
        }
    }
}

TEST(BlockHasher, ABlockDoesNotPassAtAnotherPlace) {
    const BlockHasher hasher(secret_of(1));
    const std::vector<std::byte> block = pattern_block();
    std::set<uint64_t> seen;
    for (uint64_t number = 0; number < 10'000; ++number) {
        seen.insert(hasher.checksum(number, block.data()));
    }
    seen.insert(hasher.checksum(UINT64_MAX, block.data()));
    EXPECT_EQ(seen.size(), 10'001u);
}

TEST(BlockHasher, ABlockDoesNotPassInAnotherVolume) {
    const std::vector<std::byte> block = pattern_block();
    EXPECT_NE(BlockHasher(secret_of(1)).checksum(3, block.data()),
              BlockHasher(secret_of(2)).checksum(3, block.data()));
}

TEST(BlockHasher, ItsSeedDependsOnEveryByteOfTheSecret) {
    const std::vector<std::byte> block = pattern_block();
    const uint64_t reference = BlockHasher(secret_of(1)).checksum(3, block.data());
    for (size_t i = 0; i < sizeof(VolumeSecret); ++i) {
        VolumeSecret secret = secret_of(1);
        secret[i] ^= std::byte{1};
        EXPECT_NE(BlockHasher(secret).checksum(3, block.data()), reference) << i;
    }
}

TEST(BlockHasher, AZeroBlockHasAnOrdinaryChecksum) {
    const BlockHasher hasher(secret_of(1));
    const std::vector<std::byte> zeros(kBlockSize);
    std::set<uint64_t> seen;
    for (uint64_t number = 0; number < 1'000; ++number) {
        seen.insert(hasher.checksum(number, zeros.data()));
    }
    EXPECT_EQ(seen.size(), 1'000u);
    EXPECT_EQ(seen.count(0), 0u);
}

TEST(BlockHasher, AnUnalignedBlockGivesTheSameValue) {
    const BlockHasher hasher(secret_of(1));
    const std::vector<std::byte> block = pattern_block();
    std::vector<std::byte> shifted(kBlockSize + 1);
    std::memcpy(shifted.data() + 1, block.data(), kBlockSize);
    EXPECT_EQ(hasher.checksum(5, shifted.data() + 1), hasher.checksum(5, block.data()));
}

// What version 1 of the format writes. If this fails, existing volumes become unreadable.
TEST(BlockHasher, IsFrozen) {
    const BlockHasher hasher(secret_of(1));
    const std::vector<std::byte> block = pattern_block();
    EXPECT_EQ(hasher.checksum(0, block.data()), 0xfa2d73185235638eu);
    EXPECT_EQ(hasher.checksum(1ull << 40, block.data()), 0xf430ad404090a3e1u);
}

}  // namespace
}  // namespace gemel::ecc
