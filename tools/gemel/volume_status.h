// SPDX-License-Identifier: Apache-2.0
//
// What `gemel status` knows about one volume: as told by its server, or as found in the members'
// superblocks when nobody serves it. Written as JSON and as a table for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockdev/result.h"
#include "mirror/report.h"

namespace gemel::tools {

inline constexpr int kJsonSchema = 1;

struct ServerFacts {
    uint64_t pid = 0;
    std::string version;
    uint64_t uptime_s = 0;
    std::vector<std::string> addresses;  // Where NBD clients connect: "unix:PATH", "HOST:PORT".
};

struct VolumeStatus {
    std::string file;                   // The volume file; empty if unknown.
    std::optional<ServerFacts> server;  // Nothing: not served.
    mirror::VolumeReport report;        // State "not-served" if there is no server.
    std::string problem;                // Why less is known than should be; empty if all is well.
};

// Whether there is something to say about it besides its state: it is not as it should be.
inline bool needs_reason(const mirror::MemberReport& member) {
    return member.state != "in-sync" && !member.why.empty();
}

// One line, an object as described in docs/json.md. Never fails: what is not UTF-8 is replaced.
std::string volume_status_json(const VolumeStatus& status);
// {"schema": 1, "volumes": [...]}, indented, for standard output.
std::string status_document_json(const std::vector<VolumeStatus>& volumes);
// Reads what volume_status_json wrote. The text comes from whoever listens on the socket: anything
// malformed is a problem.
Outcome<VolumeStatus> parse_volume_status(std::string_view json);

// What the last scrub checked, found and healed, for people: lines that each end with a newline.
std::string scrub_summary(const mirror::VolumeReport& report);

// The table for people; ends with a newline.
std::string status_table(const VolumeStatus& status);

}  // namespace gemel::tools
