// SPDX-License-Identifier: Apache-2.0
//
// A volume that nobody serves, as far as its members' superblocks tell.
#pragma once

#include <string>

#include "mirror/volume_description.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

// Reads only. A member that cannot be read, or is of another volume, is shown as such; what the
// superblocks say comes from the newest one.
VolumeStatus unserved_status(const mirror::VolumeDescription& description, const std::string& file);

}  // namespace gemel::tools
