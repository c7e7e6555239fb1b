// SPDX-License-Identifier: Apache-2.0
//
// A volume that nobody serves, as far as its members' superblocks and the witness tell.
#pragma once

#include <string>

#include "blockdev/env.h"
#include "mirror/volume_description.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

// Reads only. Each member is shown in the state that it would have after a start; if the volume
// would not start, `problem` has the sentence with which that would be refused, and the states are
// what the newest configuration says.
Task<VolumeStatus> unserved_status(Env& env, mirror::VolumeDescription description,
                                   std::string file);

}  // namespace gemel::tools
