// SPDX-License-Identifier: Apache-2.0
//
// Opens what can be opened of the members that a volume file lists, and says of the rest why not.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blockdev/buffer_pool.h"
#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/start_rules.h"
#include "mirror/volume_description.h"

namespace gemel::mirror {

struct FoundMembers {
    std::vector<std::unique_ptr<blockdev::Member>> present;  // Locked, and unchanged.
    std::vector<AbsentMember> absent;
};

// All at once, so that one that has to be waited for costs no more than its own time. Fails only if
// a member may be in use by a live process: then the volume may be served there, and whoever starts
// it here as well would make two histories of it.
Task<Outcome<FoundMembers>> find_members(Env& env, VolumeDescription description,
                                         size_t cache_bytes, blockdev::BufferPool& pool);

std::vector<MemberEvidence> evidence_of(
    const std::vector<std::unique_ptr<blockdev::Member>>& members);

}  // namespace gemel::mirror
