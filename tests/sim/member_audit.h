// SPDX-License-Identifier: Apache-2.0
//
// Judges what an orderly stop has left on a member, from the bytes on its platter alone: each
// superblock proves itself, each table is the one that is named above it, and each block at home is
// what its checksum says.
#pragma once

#include <string>

#include "tests/sim/drive.h"

namespace gemel::sim {

// What is wrong first; empty if nothing is.
std::string audit_member(Drive& drive);

}  // namespace gemel::sim
