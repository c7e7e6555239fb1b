// SPDX-License-Identifier: Apache-2.0
//
// What superblocks say of members, in the words that status and inspect share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "blockdev/disk_format.h"

namespace gemel::tools {

// "in-sync", "behind", ...: the states' names, as the configuration knows them.
// `state` is a blockdev::ConfiguredState, as found.
std::string configured_name(uint32_t state);

// Nothing if no resync is under way, or was when the member was last written to.
std::optional<blockdev::ResyncRecord> resync_of(const blockdev::Superblock& superblock);

// "has all up to write 4711; of pages 0 to 119 all up to 4800; pages 120 to 127 may be half
// copied".
std::string resync_text(const blockdev::ResyncRecord& resync);

// An object as described in docs/json.md, or null; and back.
nlohmann::ordered_json resync_json(const std::optional<blockdev::ResyncRecord>& resync);
std::optional<blockdev::ResyncRecord> parse_resync(const nlohmann::ordered_json& json);

}  // namespace gemel::tools
