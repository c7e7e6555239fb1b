// SPDX-License-Identifier: Apache-2.0
//
// Who belongs to a volume, who may start it, and the witness that remembers it. The rules are pure
// functions; open.cc carries them out.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockdev/disk_format.h"
#include "blockdev/env.h"

namespace gemel::mirror {

// What one member says of itself.
struct MemberEvidence {
    std::string path;
    const blockdev::Superblock* superblock = nullptr;
};

struct StartDecision {
    size_t newest = 0;             // The member whose configuration counts.
    bool witness_is_lost = false;  // It must be written anew.
    std::vector<size_t> in_chain;  // Members whose log belongs to that configuration.
};

// Whether these members, and no others, may start the volume: one volume, one history, everyone in
// the newest in-sync set there and none of them stale. The problem names the member at fault.
Outcome<StartDecision> decide_start(std::span<const MemberEvidence> members,
                                    const std::optional<blockdev::ConfigurationRecord>& witness);

// The first configuration of a new volume.
blockdev::ConfigurationRecord first_configuration(Env& env, std::span<const Uuid> members);
// The one after `current`: a new epoch that begins after the batch with `previous_hash`.
blockdev::ConfigurationRecord next_epoch(Env& env, const blockdev::ConfigurationRecord& current,
                                         uint64_t first_sequence, uint64_t previous_hash);

// Nothing where there is no witness file. One that does not prove itself, or belongs to another
// volume, is a Problem.
Outcome<std::optional<blockdev::ConfigurationRecord>> read_witness(Env& env,
                                                                   const std::string& path,
                                                                   const Uuid& volume);
Status write_witness(Env& env, const std::string& path, const Uuid& volume,
                     const blockdev::ConfigurationRecord& configuration);

}  // namespace gemel::mirror
