// SPDX-License-Identifier: Apache-2.0
//
// What verbs make of an answer of the server that they ask.
#pragma once

#include <string>

#include "blockdev/result.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

// The answer, or a Failure that says what the operator, who called the volume `given`, can do.
VolumeStatus answer_or_throw(Outcome<VolumeStatus> answer, const std::string& given);

// Throws the Failure for a volume that its server has stopped.
void throw_if_stopped(const VolumeStatus& status);

// Between two looks at something that takes a while.
void pause_before_next_look();

}  // namespace gemel::tools
