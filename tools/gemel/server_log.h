// SPDX-License-Identifier: Apache-2.0
//
// The server's log: a line on standard error for each event, with time, level and volume.
#pragma once

#include <string>
#include <string_view>

#include "blockdev/env.h"

namespace gemel::tools {

// Once, before the reactor runs and after signals are blocked: lines are written by a thread of
// their own, so that a reader that has stopped reading cannot stall the data path. When its queue
// is full the oldest lines are dropped.
void start_server_log(const std::string& volume_name);
// Writes what is queued. If standard error takes nothing for a second, ends the process with `code`
// there and then: a reader that has stopped reading must not keep us alive either.
void finish_server_log(int code);

// For UringOptions::log_sink.
void log_to_server_log(LogLevel level, std::string_view text);

}  // namespace gemel::tools
