// SPDX-License-Identifier: Apache-2.0
#include "blockdev/env.h"

#include <algorithm>
#include <cstring>

namespace gemel {

void fill_random(Env& env, std::span<std::byte> out) {
    while (!out.empty()) {
        const uint64_t word = env.random_u64();
        const size_t count = std::min(out.size(), sizeof word);
        std::memcpy(out.data(), &word, count);
        out = out.subspan(count);
    }
}

}  // namespace gemel
