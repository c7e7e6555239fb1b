// SPDX-License-Identifier: Apache-2.0
#include "mirror/damage.h"

#include <bit>
#include <cstring>

namespace gemel::mirror {

namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kSector = 512;
constexpr size_t kSectors = kBlock / kSector;
// Rot flips few bits; a sector of other content differs in far more.
constexpr unsigned kFlippedBitsMax = 32;

unsigned different_bits(const std::byte* a, const std::byte* b) {
    unsigned bits = 0;
    for (size_t i = 0; i < kBlock; ++i) {
        bits += static_cast<unsigned>(std::popcount(std::to_integer<unsigned>(a[i] ^ b[i])));
    }
    return bits;
}

}  // namespace

DamageCause cause_of_difference(const std::byte* bad, const std::byte* good) {
    size_t first = kSectors;  // Of the sectors that differ.
    size_t last = 0;
    for (size_t sector = 0; sector < kSectors; ++sector) {
        if (std::memcmp(bad + sector * kSector, good + sector * kSector, kSector) == 0) continue;
        if (first == kSectors) first = sector;
        last = sector;
    }
    const bool right_at_an_end = first > 0 || last + 1 < kSectors;
    const bool reaches_an_end = first == 0 || last + 1 == kSectors;
    if (right_at_an_end && reaches_an_end && different_bits(bad, good) > kFlippedBitsMax) {
        return DamageCause::torn;
    }
    return DamageCause::bit_rot;
}

}  // namespace gemel::mirror
