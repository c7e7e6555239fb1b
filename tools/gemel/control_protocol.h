// SPDX-License-Identifier: Apache-2.0
//
// What is said on a volume's control socket: a line of JSON from the client, a line of JSON back,
// any number of times.
//
//     {"command": "status"}    ->  {"schema": 1, "status": {...}}     the status as in docs/json.md
//     {"command": "scrub"}     ->  the same; a scrub is under way then
//     {"command": "member-offline", "member": "PATH or UUID"}   ->  the same, once it is durable
//     {"command": "member-online", "member": "PATH or UUID"}    ->  the same; it is looked for then
//     {"command": "member-add", "path": "PATH", "force": false, "spare": false}
//     {"command": "member-remove", "member": "PATH or UUID", "force": false}
//     {"command": "member-replace", "member": "PATH or UUID", "path": "PATH", "force": false}
//                              ->  the same, once the configuration says so
//     anything else            ->  {"schema": 1, "error": "..."}
//
// Pure functions here; control_server and control_client carry the lines.
#pragma once

#include <string>
#include <string_view>

#include "blockdev/result.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

inline constexpr size_t kControlRequestSizeMax = 4096;  // With its newline.
inline constexpr size_t kControlAnswerSizeMax = 1u << 20;

enum class ControlCommand {
    status,
    scrub,
    member_offline,
    member_online,
    member_add,
    member_remove,
    member_replace,
};

// What a command has no use for is empty, or false.
struct ControlRequest {
    ControlCommand command = ControlCommand::status;
    std::string member = {};  // Path or UUID.
    std::string path = {};    // Of a new member; absolute.
    bool force = false;
    bool spare = false;
};

// A request line, without its newline. The line is hostile until this has accepted it.
Outcome<ControlRequest> parse_control_request(std::string_view line);
std::string render_control_request(const ControlRequest& request);

// Each ends with a newline, the only one in it.
std::string render_status_answer(const VolumeStatus& status);
std::string render_error_answer(std::string_view text);

// An answer line to a status request. The problem is the server's own, or that it makes no sense.
Outcome<VolumeStatus> parse_status_answer(std::string_view line);

}  // namespace gemel::tools
