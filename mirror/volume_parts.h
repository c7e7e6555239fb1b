// SPDX-License-Identifier: Apache-2.0
//
// What opening found out, and a volume is made of.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/buffer_pool.h"
#include "blockdev/member.h"
#include "mirror/member_state.h"
#include "mirror/scrub.h"
#include "mirror/slowness.h"
#include "mirror/volume_description.h"
#include "mirror/watchdog.h"

namespace gemel::mirror {

// One member of the configuration, in the order of the configuration.
struct MemberPart {
    std::string path;  // As the volume file has it.
    Uuid uuid;
    std::unique_ptr<blockdev::Member> member;  // Null: it is missing.
    MemberState state = MemberState::in_sync;
    std::string why;  // Why it is not in sync, for people.
    bool is_spare = false;
    bool stands_in = false;          // A spare that is needed.
    std::optional<size_t> replaces;  // The member that leaves once this one is in sync.
};

struct VolumeParts {
    std::string name;
    Uuid uuid;
    std::string witness_path;
    std::unique_ptr<blockdev::BufferPool> pool;
    std::vector<MemberPart> members;
    blockdev::ConfigurationRecord configuration;  // In force.
    std::vector<blockdev::EpochRecord> history;   // Oldest first, with the one now in force.
    uint64_t chain_hash = 0;
    uint64_t cache_bytes = 0;  // For each member that is opened later.
    bool read_only = false;
    Scrub::Options scrub = {};
    WatchLimits limits = {};
    DescriptionKeeper keep = {};
    SlowLimits slow_limits = {};
};

}  // namespace gemel::mirror
