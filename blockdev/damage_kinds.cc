// SPDX-License-Identifier: Apache-2.0
#include "blockdev/damage_kinds.h"

#include <array>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/disk_format.h"

namespace gemel::blockdev {

namespace {

constexpr size_t kSectors = kBlockSize / kTornSector;
constexpr std::array<const char*, kStructures> kStructureNames = {"data", "checksum", "index",
                                                                  "log", "superblock"};
constexpr std::array<const char*, kDamageKinds> kKindNames = {"flip", "zero",  "garbage",
                                                              "swap", "stale", "torn"};

template <typename Enum, size_t kCount>
std::optional<Enum> parse(const std::array<const char*, kCount>& names, std::string_view text) {
    for (size_t i = 0; i < kCount; ++i) {
        if (text == names[i]) return static_cast<Enum>(i);
    }
    return std::nullopt;
}

Alteration flip(Random& random, std::span<std::byte> block) {
    const size_t at = random.below(block.size());
    const auto bit = static_cast<uint8_t>(random.below(8));
    block[at] ^= std::byte{1} << bit;
    return {at, 1, bit};
}

void fill_with_garbage(Random& random, std::span<std::byte> out) {
    for (size_t at = 0; at < out.size(); at += sizeof(uint64_t)) {
        const le64 word = random.next();
        std::memcpy(out.data() + at, &word, sizeof word);
    }
}

// The last sector in which they differ; 0 also if there is none.
size_t last_difference(std::span<const std::byte> a, std::span<const std::byte> b) {
    for (size_t sector = kSectors - 1; sector > 0; --sector) {
        const size_t at = sector * kTornSector;
        if (std::memcmp(a.data() + at, b.data() + at, kTornSector) != 0) return sector;
    }
    return 0;
}

Alteration tear(Random& random, std::span<const std::byte> older, std::span<std::byte> block) {
    const size_t last = older.empty() ? 0 : last_difference(older, block);
    const size_t kept = random.between(1, last != 0 ? last : kSectors - 1) * kTornSector;
    if (last != 0) {
        std::memcpy(block.data() + kept, older.data() + kept, kBlockSize - kept);
    } else {
        fill_with_garbage(random, block.subspan(kept));
    }
    return {kept, kBlockSize - kept, std::nullopt};
}

}  // namespace

const char* name(Structure structure) { return kStructureNames[static_cast<size_t>(structure)]; }
const char* name(DamageKind kind) { return kKindNames[static_cast<size_t>(kind)]; }

std::optional<Structure> parse_structure(std::string_view text) {
    return parse<Structure>(kStructureNames, text);
}

std::optional<DamageKind> parse_damage_kind(std::string_view text) {
    return parse<DamageKind>(kKindNames, text);
}

Alteration alter(DamageKind kind, Random& random, std::span<const std::byte> other,
                 std::span<std::byte> block) {
    CHECK(block.size() == kBlockSize);
    CHECK(other.empty() || other.size() == kBlockSize);
    switch (kind) {
        case DamageKind::flip: return flip(random, block);
        case DamageKind::torn: return tear(random, other, block);
        case DamageKind::zero: std::memset(block.data(), 0, kBlockSize); break;
        case DamageKind::garbage: fill_with_garbage(random, block); break;
        case DamageKind::swap:
        case DamageKind::stale:
            CHECK(!other.empty());
            std::memcpy(block.data(), other.data(), kBlockSize);
            break;
    }
    return {0, kBlockSize, std::nullopt};
}

}  // namespace gemel::blockdev
