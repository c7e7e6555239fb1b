// SPDX-License-Identifier: Apache-2.0
//
// What those who work on the members tell the volume when one of them fails.
#pragma once

#include <cstddef>
#include <functional>

#include "blockdev/result.h"

namespace gemel::mirror {

struct MemberFailure {
    size_t member = 0;      // Its index in the volume.
    const char* what = "";  // A literal: which work failed on it.
    Error error;
};

// May be called more than once, also for the same member; never from within a submit.
using FailureSink = std::function<void(const MemberFailure&)>;

}  // namespace gemel::mirror
