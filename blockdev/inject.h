// SPDX-License-Identifier: Apache-2.0
//
// Damages a member on purpose, to see it masked and healed. Works on a member that nobody has open,
// and, taking no lock, beside its owner: then the owner may overwrite a damage at once, and what it
// writes to a block in the moment of its damage may be lost, like any write to that one member.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blockdev/damage.h"
#include "blockdev/damage_targets.h"
#include "blockdev/env.h"

namespace gemel::blockdev {

struct InjectOptions {
    std::optional<Structure> into;  // Nothing: any.
    DamageKind kind = DamageKind::flip;
    uint64_t count = 1;  // Events. A swap is one, and so is all that is put back together.
    uint64_t seed = 0;   // The same seed damages the same content in the same way.
    std::optional<NumberRange> range;  // See TargetOptions. Only with `into`.
    // A recording of this member. Stale needs it; torn shows what it has in place of garbage.
    std::optional<std::string> recording;
};

struct Injection {
    Uuid member;
    Uuid volume;
    uint64_t events = 0;  // Fewer than asked for if there were not enough places; never 0.
    std::vector<Damage> damages;
};

// Damages places that matter (damage_targets.h), none of them twice, and each really changed. Only
// what is listed was written; it is durable. Both superblocks are never damaged for a count of 1.
//
// stale into any also puts back what a disk loses together: a block with both slots of its checksum
// page, with those of level 1 of the index above it, and with those of level 2, under one event.
//
// A Problem names the path and says why nothing was damaged, or how many events came before a
// failure of the device. `disk` was opened for writing, beside_owner if it may have one.
Task<Outcome<Injection>> inject_damage(Env& env, Disk& disk, InjectOptions options);
// The same, opening and closing the file or device.
Task<Outcome<Injection>> inject_damage(Env& env, std::string path, InjectOptions options);

}  // namespace gemel::blockdev
