// SPDX-License-Identifier: Apache-2.0
//
// Makes a failing seed simpler: which of the classes of faults are needed for it to fail?
#pragma once

#include <cstdint>

#include "tests/sim/fault_class.h"

namespace gemel::sim {

// Switches one class off after the other for as long as the seed still fails, whatever it fails
// with, and prints those that are left and the command that replays it. False if it does not fail.
bool minimise(uint64_t seed, FaultSet allowed);

}  // namespace gemel::sim
