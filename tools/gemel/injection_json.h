// SPDX-License-Identifier: Apache-2.0
//
// What was damaged, or remembered, as JSON; documented in docs/json.md.
#pragma once

#include <string>

#include "blockdev/inject.h"
#include "blockdev/recording.h"

namespace gemel::tools {

// Both end with a newline.
std::string injection_json(const std::string& path, const blockdev::InjectOptions& options,
                           const blockdev::Injection& injection);
std::string recording_json(const std::string& path, const std::string& recording,
                           const blockdev::RecordingSummary& summary);

}  // namespace gemel::tools
