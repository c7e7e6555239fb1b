// SPDX-License-Identifier: Apache-2.0
//
// Making a file or block device a member of a volume that exists already.
#pragma once

#include <span>
#include <string>

#include "blockdev/env.h"
#include "blockdev/format_member.h"

namespace gemel::mirror {

// Everything about room that can be found out before any of these is changed. They are open.
std::optional<Problem> check_room(std::span<const blockdev::NewMember> members,
                                  const blockdev::Layout& layout);

struct NewMemberOrder {
    std::string path;    // Absolute.
    bool force = false;  // Overwrite what is there.
    bool spare = false;
};

// Makes a member that holds nothing yet: `configuration` lists it, not in sync. It is closed again
// at the end. On failure, or once `*cancelled`, nothing that existed before has changed (unless
// forced) and no new file is left.
Task<Outcome<void>> make_member(Env& env, NewMemberOrder order, blockdev::Layout layout,
                                blockdev::MemberIdentity identity,
                                blockdev::ConfigurationRecord configuration, const bool* cancelled);

}  // namespace gemel::mirror
