// SPDX-License-Identifier: Apache-2.0
//
// Which volume and which of its members a verb is about, and waiting for that one to be in sync.
#pragma once

#include <string>

#include "mirror/volume_description.h"
#include "tools/gemel/arguments.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

struct VolumeTarget {
    std::string name;
    std::string given;  // What the operator called it.
    std::string file;
    std::string socket;  // Where its server listens, if there is one.
    mirror::VolumeDescription description;
};

struct MemberTarget {
    VolumeTarget volume;
    std::string member;  // As the volume file has it.
};

// Throw Failure: there is no such volume file; it lists no such member.
VolumeTarget find_volume(const std::string& volume, const std::string& folder);
MemberTarget find_member(const MemberArguments& arguments);

// Null, or a Failure, if it is no member any more.
const mirror::MemberReport* look_for(const VolumeStatus& status, const MemberTarget& target);
const mirror::MemberReport& member_in(const VolumeStatus& status, const MemberTarget& target);

// Draws how far it is, at the end says what was done. Throws Failure if it will not get there by
// itself.
int wait_until_in_sync(const MemberTarget& target);

}  // namespace gemel::tools
