// SPDX-License-Identifier: Apache-2.0
//
// A look at a member that nobody serves: what its superblock and its memory of its past say. Reads
// only, and takes no lock.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blockdev/env.h"
#include "blockdev/health_record.h"
#include "blockdev/superblock.h"
#include "mirror/volume_description.h"

namespace gemel::tools {

struct MemberLook {
    std::string path;
    Uuid uuid;                                         // Its own, else the one that is listed.
    std::unique_ptr<blockdev::Superblock> superblock;  // Null: `problem` says why.
    blockdev::MemberHealth health;
    std::optional<uint64_t> log_end;  // See look_at_log.
    Problem problem;
};

// The member listed at `index`. Members are known by their UUIDs: one that lies where another is
// listed is no problem. `volume` stays until the task has ended.
Task<MemberLook> look_at_member(Env& env, const mirror::VolumeDescription& volume, size_t index);

// Finds out where the chain in its log ends; nothing if the log cannot be read.
Task<void> look_at_log(Env& env, MemberLook& look);

}  // namespace gemel::tools
