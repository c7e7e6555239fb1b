// SPDX-License-Identifier: Apache-2.0
//
// The only source of chance in a simulated run.
#pragma once

#include "blockdev/random.h"

namespace gemel::sim {

using gemel::kCertain;
using gemel::Random;

}  // namespace gemel::sim
