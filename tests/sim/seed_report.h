// SPDX-License-Identifier: Apache-2.0
//
// What one simulated run has to say: whether it failed and why, and what it came by.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace gemel::sim {

struct SeedReport {
    std::string failure;  // Empty: all went as promised.
    uint64_t trace_hash = 0;
    std::map<std::string, uint64_t> counts;  // Named for people: the summary adds them up.

    void fail(std::string text) {
        if (failure.empty()) failure = std::move(text);
    }
    void count(const std::string& what, uint64_t times = 1) { counts[what] += times; }
};

}  // namespace gemel::sim
