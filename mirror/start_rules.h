// SPDX-License-Identifier: Apache-2.0
//
// Who may start a volume: pure functions of what was found; open.cc carries them out.
//
// A change of the configuration is written to the members that are in sync in it, then to the
// witness, and is in force only then. So a member that was in sync when the witness was written
// last, and knows of that, holds everything that was ever acknowledged, and may start alone. What
// members know beyond the witness was never in force. Without a witness, all that were in sync in
// the newest configuration seen must be there: what none of them knows nobody knows.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockdev/disk_format.h"
#include "blockdev/result.h"
#include "mirror/member_state.h"

namespace gemel::mirror {

// What a member that could be read says of itself.
struct MemberEvidence {
    std::string path;
    const blockdev::Superblock* superblock = nullptr;
    // log_end(); without it the log counts as empty. See needs_log_ends().
    std::optional<uint64_t> log_end;
};

// A member of the volume file that could not be had.
struct AbsentMember {
    std::string path;
    Uuid uuid;
    std::string why;  // A sentence that names the path.
};

struct StartCase {
    std::string volume;  // Its name.
    std::span<const MemberEvidence> present;
    std::span<const AbsentMember> absent;
    std::optional<blockdev::ConfigurationRecord> witness;  // Nothing: there is none to go by.
    std::string witness_problem;                           // Why not: "lost", "damaged".
    bool force = false;
};

// What becomes of one member of the configuration.
struct MemberVerdict {
    Uuid uuid;
    std::optional<size_t> evidence;  // Its index; nothing: it is not there.
    MemberState state = MemberState::in_sync;
    std::string why;  // Why it is not in sync.
    // What it is configured as unless it comes to be in sync.
    blockdev::ConfiguredState configured = blockdev::ConfiguredState::behind;
    // In sync if settlement finds nothing to keep: its epoch is an older one than that of the
    // others, but they had no write since.
    bool lacks_nothing = false;
};

struct StartDecision {
    size_t newest = 0;                            // The evidence whose history goes on.
    Uuid epoch_id;                                // Of its log; not always that of:
    blockdev::ConfigurationRecord configuration;  // The one that the next epoch follows.
    uint64_t next_epoch_number = 0;               // Higher than any that was ever seen.
    std::vector<MemberVerdict> members;           // In the order of the configuration.
    std::vector<std::string> warnings;
    bool witness_is_lost = false;  // It must be written anew.
    bool forced = false;           // Started without proof: the warnings say what may be lost.
};

// Whether decide_start() needs to know where each log ends: it compares histories unless all
// members are there and in one epoch.
bool needs_log_ends(const StartCase& start);

// All evidence is of one volume. The problem says what is missing, and what `force` would lose.
Outcome<StartDecision> decide_start(const StartCase& start);

}  // namespace gemel::mirror
