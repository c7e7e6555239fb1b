// SPDX-License-Identifier: Apache-2.0
//
// What `gemel status --watch` shows: pure, the loop is in watch.cc.
#pragma once

#include <cstddef>
#include <string>

#include "tools/gemel/volume_status.h"

namespace gemel::tools {

// Whether anything happened to the volume in between. Time passes by itself, and other programs
// take and give space.
bool differ(const VolumeStatus& before, const VolumeStatus& after);

// Draws the table over what stands on a terminal of so many rows. Lines that are too long are cut
// off by the terminal, those below the last row are left out.
std::string screen(const VolumeStatus& status, size_t rows);

// For whatever is not a terminal: the table, below the time.
std::string block(const VolumeStatus& status, uint64_t seconds_since_1970);

}  // namespace gemel::tools
