// SPDX-License-Identifier: Apache-2.0
//
// What can become of a block on a disk, and how to tell it from what is found there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gemel::mirror {

enum class DamageCause : uint8_t {
    bit_rot,      // Anything that none of the others explains.
    lost_write,   // An older version: the disk dropped a write.
    misdirected,  // Another block's content.
    torn,         // Some sectors are new, some are not.
    unreadable,   // The device says so itself.
};
inline constexpr size_t kDamageCauses = 5;
// As in JSON.
inline constexpr std::array<const char*, kDamageCauses> kDamageCauseNames = {
    "bit_rot", "lost_write", "misdirected", "torn", "unreadable"};

using DamageCounts = std::array<uint64_t, kDamageCauses>;

// Tells a torn block from a rotten one: both are blocks of 4 KiB. Torn is one of which a run of
// whole sectors at either end is right and the rest is different content, not some flipped bits.
DamageCause cause_of_difference(const std::byte* bad, const std::byte* good);

}  // namespace gemel::mirror
