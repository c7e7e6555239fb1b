// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/trace.h"

#include <cinttypes>
#include <cstdio>

namespace gemel::sim {

void Trace::line(uint64_t time_ns, std::string_view text) const {
    if (!printing_) return;
    std::printf("%5" PRIu64 ".%06" PRIu64 " ms  %.*s\n", time_ns / 1'000'000, time_ns % 1'000'000,
                static_cast<int>(text.size()), text.data());
}

}  // namespace gemel::sim
