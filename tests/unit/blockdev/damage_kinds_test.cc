// SPDX-License-Identifier: Apache-2.0
#include "blockdev/damage_kinds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>
#include <vector>

#include "blockdev/disk_format.h"

namespace gemel::blockdev {
namespace {

using Bytes = std::vector<std::byte>;

Bytes filled(int value) { return Bytes(kBlockSize, static_cast<std::byte>(value)); }

uint64_t bits_that_differ(const Bytes& a, const Bytes& b) {
    uint64_t bits = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        bits += static_cast<uint64_t>(std::popcount(std::to_integer<unsigned>(a[i] ^ b[i])));
    }
    return bits;
}

TEST(DamageNames, AreReadBack) {
    for (size_t i = 0; i < kStructures; ++i) {
        const auto structure = static_cast<Structure>(i);
        EXPECT_EQ(parse_structure(name(structure)), structure);
    }
    for (size_t i = 0; i < kDamageKinds; ++i) {
        const auto kind = static_cast<DamageKind>(i);
        EXPECT_EQ(parse_damage_kind(name(kind)), kind);
    }
    EXPECT_EQ(parse_structure("any"), std::nullopt);
    EXPECT_EQ(parse_damage_kind(""), std::nullopt);
}

TEST(DamageKinds, AFlipIsOneBit) {
    std::set<size_t> places;
    Random random(1);
    for (int i = 0; i < 100; ++i) {
        Bytes block = filled(0x5a);
        const Alteration part = alter(DamageKind::flip, random, {}, block);
        EXPECT_EQ(bits_that_differ(block, filled(0x5a)), 1u);
        EXPECT_EQ(part.length, 1u);
        ASSERT_TRUE(part.bit.has_value());
        EXPECT_EQ(block[part.offset], std::byte{0x5a} ^ (std::byte{1} << *part.bit));
        places.insert(part.offset * 8 + *part.bit);
    }
    EXPECT_GT(places.size(), 90u);
}

TEST(DamageKinds, ZeroGarbageSwapAndStaleReplaceTheBlock) {
    Random random(1);
    Bytes block = filled(1);
    alter(DamageKind::zero, random, {}, block);
    EXPECT_EQ(block, filled(0));
    alter(DamageKind::garbage, random, {}, block);
    const uint64_t bits = bits_that_differ(block, filled(0));
    EXPECT_GT(bits, kBlockSize * 3);
    EXPECT_LT(bits, kBlockSize * 5);
    for (const DamageKind kind : {DamageKind::swap, DamageKind::stale}) {
        const Alteration part = alter(kind, random, filled(7), block);
        EXPECT_EQ(block, filled(7));
        EXPECT_EQ(part.offset, 0u);
        EXPECT_EQ(part.length, kBlockSize);
        block = filled(1);
    }
}

TEST(DamageKinds, ATornBlockKeepsItsFirstSectors) {
    std::set<size_t> kept;
    Random random(1);
    for (int i = 0; i < 200; ++i) {
        Bytes block = filled(1);
        const Alteration part = alter(DamageKind::torn, random, filled(2), block);
        ASSERT_EQ(part.offset % kTornSector, 0u);
        EXPECT_EQ(part.offset + part.length, kBlockSize);
        EXPECT_EQ(std::count(block.begin(), block.end(), std::byte{1}), part.offset);
        EXPECT_EQ(std::count(block.begin(), block.end(), std::byte{2}), part.length);
        kept.insert(part.offset / kTornSector);
    }
    EXPECT_EQ(kept, (std::set<size_t>{1, 2, 3, 4, 5, 6, 7}));
}

TEST(DamageKinds, ATornBlockShowsTheVersionBeforeOnlyWhereItDiffers) {
    Random random(1);
    Bytes older = filled(1);
    older[2 * kTornSector + 5] = std::byte{9};
    for (int i = 0; i < 50; ++i) {
        Bytes block = filled(1);
        const Alteration part = alter(DamageKind::torn, random, older, block);
        EXPECT_LE(part.offset, 2 * kTornSector);
        EXPECT_EQ(block, older);
    }
    // Only in the first sector, which is always kept: garbage takes its place.
    older = filled(1);
    older[5] = std::byte{9};
    Bytes block = filled(1);
    const Alteration part = alter(DamageKind::torn, random, older, block);
    EXPECT_GT(bits_that_differ(block, filled(1)), part.length * 2);
    EXPECT_EQ(block[5], std::byte{1});
}

TEST(DamageKinds, ChanceDecidesAlone) {
    for (const DamageKind kind : {DamageKind::flip, DamageKind::garbage, DamageKind::torn}) {
        Bytes first = filled(3);
        Bytes second = filled(3);
        Bytes third = filled(3);
        Random one(1);
        Random again(1);
        Random other(2);
        alter(kind, one, {}, first);
        alter(kind, again, {}, second);
        alter(kind, other, {}, third);
        EXPECT_EQ(first, second);
        EXPECT_NE(first, third);
    }
}

}  // namespace
}  // namespace gemel::blockdev
