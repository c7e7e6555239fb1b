// SPDX-License-Identifier: Apache-2.0
//
// What inspecting a member found, in an operator's terms: as JSON and as text.
#pragma once

#include <string>
#include <vector>

#include "blockdev/inspect.h"
#include "mirror/block_set.h"

namespace gemel::tools {

// A structure on the member, with its place.
struct Extents {
    const char* structure;
    uint64_t offset;
    uint64_t length;
};
// In the order of their offsets; docs and both outputs use the same names.
std::vector<Extents> extents_of(const blockdev::Layout& layout);

// The blocks of which no member has a good copy, as the member remembers them.
std::vector<mirror::BlockRange> lost_ranges(const blockdev::MemberHealth& health);

// The commands that make a read-only block device of home, without Gemel: for a shell.
std::string loop_command(const blockdev::MemberInspection& member);

// As described in docs/json.md; ends with a newline.
std::string inspection_json(const blockdev::MemberInspection& member);
std::string inspection_text(const blockdev::MemberInspection& member);

}  // namespace gemel::tools
