// SPDX-License-Identifier: Apache-2.0
//
// What each kind of damage makes of the bytes of one block. Pure: bytes and chance in, bytes out.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "blockdev/damage.h"
#include "blockdev/random.h"

namespace gemel::blockdev {

inline constexpr size_t kTornSector = 512;

// The part of the block that was written to.
struct Alteration {
    size_t offset = 0;
    size_t length = 0;
    std::optional<uint8_t> bit;  // Of a flip.
};

// Damages `block`, which is kBlockSize long. `other` is of the same length, or empty: for stale the
// version to be put back and for swap the partner's content, which both need it; for torn the
// version before, with garbage in its place if there is none or it would change nothing. The block
// may come out as it was, where it held already what the kind would write.
Alteration alter(DamageKind kind, Random& random, std::span<const std::byte> other,
                 std::span<std::byte> block);

}  // namespace gemel::blockdev
