// SPDX-License-Identifier: Apache-2.0
//
// A volume's bounds on memory; mirror/README.md adds them up.
#pragma once

#include <cstdint>

namespace gemel::mirror {

// Batches stay in memory until they are home. A batch's buffer is up to a ninth larger than it, and
// four of the largest ones may be on their way when the pacer's brake is at its full force.
inline constexpr uint64_t kLoggedBytesMax = 128ull << 20;
inline constexpr uint64_t kPayloadMemory = 160ull << 20;
static_assert(kPayloadMemory >= kLoggedBytesMax / 8 * 9 + (4ull << 20));

// Checksum pages, all members together; `--cache` changes it.
inline constexpr uint64_t kDefaultCache = 64ull << 20;

}  // namespace gemel::mirror
