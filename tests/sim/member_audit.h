// SPDX-License-Identifier: Apache-2.0
//
// Judges a member that has nothing in its log, from the bytes on its platter alone: the superblocks
// prove themselves and say the same, each table is the one that is named above it, each block at
// home is what its checksum says, the owner is who it should be, and the health record proves
// itself.
#pragma once

#include <string>

#include "tests/sim/drive.h"

namespace gemel::sim {

// What is wrong first; empty if nothing is. `closed`: its last owner has stopped in order.
std::string audit_member(Drive& drive, bool closed = true);

}  // namespace gemel::sim
