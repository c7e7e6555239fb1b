// SPDX-License-Identifier: Apache-2.0
//
// What many seeds together must have met, or they tested less than they seem to: every move of a
// member's state that can be reached in the simulated world, every class of faults, every way in
// which the product puts something right, every place that crashes are aimed at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/seed_report.h"

namespace gemel::sim {

// So many seeds meet all of it.
inline constexpr uint64_t kSeedsThatCover = 5000;

// What is missing in the sum of many reports, for people. Empty: nothing.
std::vector<std::string> not_covered(const SeedReport& total);

}  // namespace gemel::sim
