// SPDX-License-Identifier: Apache-2.0
#include "ecc/checksum.h"

// The dispatching functions choose AVX2 or AVX-512 when the processor has them: at 4 KiB that is
// twice the speed of the SSE2 that this program is compiled for.
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace gemel::ecc {

#ifdef GEMEL_WITHOUT_CHECKSUMS
const bool kBlocksAreHashed = false;
#else
const bool kBlocksAreHashed = true;
#endif

uint64_t hash64(std::span<const std::byte> data, uint64_t seed) {
    if (!kBlocksAreHashed) seed = ~seed;
    return XXH3_64bits_withSeed(data.data(), data.size(), seed);
}

BlockHasher::BlockHasher(const VolumeSecret& secret)
    : seed_(XXH3_64bits(secret.data(), secret.size())) {}

uint64_t BlockHasher::checksum(uint64_t number, const std::byte* block) const {
    if (!kBlocksAreHashed) return 1;
    // XXH3 derives its whole 192-byte secret from the seed, so a seed made of the volume's secret
    // and the block number serves as both. (withSecretandSeed ignores the seed above 240 bytes.)
    const uint64_t seed = XXH3_64bits_withSeed(&number, sizeof number, seed_);
    const uint64_t value = XXH3_64bits_withSeed(block, kBlockSize, seed);
    return value == 0 ? 1 : value;
}

}  // namespace gemel::ecc
