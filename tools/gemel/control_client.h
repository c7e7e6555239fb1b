// SPDX-License-Identifier: Apache-2.0
//
// Asking the server of a volume, from a process that has no reactor.
#pragma once

#include <string>

#include "blockdev/result.h"
#include "mirror/volume_description.h"
#include "tools/gemel/control_protocol.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

// Errc::not_found or Errc::closed if nobody listens at `socket_path`: the volume is not served.
// Errc::timed_out if no whole answer came within `limit_ms`.
Outcome<VolumeStatus> ask_status(const std::string& socket_path, int limit_ms = 5000);

// The same, after having a scrub begun.
Outcome<VolumeStatus> ask_scrub(const std::string& socket_path, int limit_ms = 5000);

// The same, after a command about members. The problem may be a refusal. A new member takes as long
// to make as its log takes to write.
Outcome<VolumeStatus> ask_member(const std::string& socket_path, const ControlRequest& request);

// Of the volume that `file` describes, and of no other that is served in its place.
Outcome<VolumeStatus> ask_status_of(const mirror::VolumeDescription& volume,
                                    const std::string& file);

// Whether `problem`, from ask_status, says that there is no server (not that it fails).
bool means_no_server(const Problem& problem);

}  // namespace gemel::tools
