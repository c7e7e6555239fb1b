// SPDX-License-Identifier: Apache-2.0
//
// Chance that can be repeated: xoshiro256** (Blackman, Vigna), seeded through splitmix64. Integers
// only, so that a seed gives the same run with every compiler. Never for identifiers or secrets:
// those come from Env.
#pragma once

#include <cstdint>

namespace gemel {

inline constexpr uint32_t kCertain = 1'000'000;  // Chances are given in parts per million.

class Random {
public:
    explicit Random(uint64_t seed) {
        for (uint64_t& word : state_) word = split(seed);
    }

    uint64_t next() {
        const uint64_t result = rotate(state_[1] * 5, 7) * 9;
        const uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = rotate(state_[3], 45);
        return result;
    }

    // Less than `bound`, which is not 0. The bias of the remainder does not matter here.
    uint64_t below(uint64_t bound) { return next() % bound; }
    // From `low` to `high`, both included.
    uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
    bool chance(uint32_t per_million) { return per_million != 0 && below(kCertain) < per_million; }
    bool coin() { return (next() >> 63) != 0; }
    // Like between(), but every power of two is as likely as the next: many small values.
    uint64_t skewed(uint64_t low, uint64_t high) {
        const uint64_t span = high - low + 1;
        const auto bits = static_cast<uint64_t>(64 - __builtin_clzll(span));
        const uint64_t limit = uint64_t{1} << below(bits + 1);
        return low + below(limit < span ? limit : span);
    }
    // A generator of its own, so that what draws from it does not shift what others draw.
    Random fork() { return Random(next()); }

private:
    static uint64_t rotate(uint64_t value, int bits) {
        return (value << bits) | (value >> (64 - bits));
    }
    static uint64_t split(uint64_t& state) {
        state += 0x9e3779b97f4a7c15ull;
        uint64_t z = state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

    uint64_t state_[4];
};

}  // namespace gemel
