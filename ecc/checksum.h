// SPDX-License-Identifier: Apache-2.0
//
// Checksums of blocks and of on-disk structures: XXH3-64 (Yann Collet, xxHash 0.8).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace gemel::ecc {

inline constexpr size_t kBlockSize = 4096;

// Random bytes that belong to one volume; they make its checksums differ from every other one's,
// so that a block of another volume, or one made to collide, never passes.
using VolumeSecret = std::array<std::byte, 32>;

// False in the build that exists only to measure what checksums cost (CMake option
// GEMEL_WITHOUT_CHECKSUMS): every block has the same checksum there, so damage goes unnoticed.
// Neither build opens the other one's members, since hash64() differs as well.
extern const bool kBlocksAreHashed;

// Plain XXH3-64 of `data`; `seed` ties the value to a place.
uint64_t hash64(std::span<const std::byte> data, uint64_t seed = 0);

// Checksums of the 4 KiB blocks of one volume. The block's number is mixed in, so a block that
// lands at another block's place (a misdirected write) does not pass there.
class BlockHasher {
public:
    explicit BlockHasher(const VolumeSecret& secret);

    // The checksum of `block` (exactly kBlockSize bytes) as block `number`. Never 0: in a checksum
    // page 0 means "known to be zero", so a computed 0 is returned as 1.
    uint64_t checksum(uint64_t number, const std::byte* block) const;

private:
    uint64_t seed_;
};

}  // namespace gemel::ecc
