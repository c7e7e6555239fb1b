// SPDX-License-Identifier: Apache-2.0
//
// Where damage to a member matters: the blocks that its own structures, from the superblock down,
// say are in use. A structure that does not prove itself leads nowhere and is no target itself.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "blockdev/damage.h"
#include "blockdev/disk.h"
#include "blockdev/random.h"
#include "blockdev/superblock.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

// Both ends belong to it.
struct NumberRange {
    uint64_t first = 0;
    uint64_t last = UINT64_MAX;

    bool meets(uint64_t low, uint64_t high) const { return low <= last && high >= first; }
    bool contains(uint64_t number) const { return meets(number, number); }
};

// Places that lie one behind the other on the member. In data their numbers count up with them.
struct TargetRun {
    Place first;
    uint64_t count = 0;

    Place at(uint64_t index) const;
};

// The places of one structure, each to be drawn once.
class TargetList {
public:
    void add(const Place& first, uint64_t count = 1);
    const std::vector<TargetRun>& runs() const { return runs_; }

    uint64_t left() const { return left_; }
    // Any of those left, each as likely as the other. There must be one.
    Place draw(Random& random);

private:
    std::vector<TargetRun> runs_;
    std::vector<uint64_t> ends_;          // How many places there are up to the end of each run.
    std::map<uint64_t, uint64_t> moved_;  // What a drawn index stands for now.
    uint64_t left_ = 0;
};

using Targets = std::array<TargetList, kStructures>;  // Indexed by Structure.

struct TargetOptions {
    std::optional<Structure> into;  // Nothing: all of them.
    // Of data: blocks of the volume; of checksum and index: pages, and then level 1 alone; of the
    // log: sequence numbers. Only with `into`.
    std::optional<NumberRange> range;
};

// Reads what it needs, changes nothing, takes no lock: on a member in use the answer is a moment's
// view. What cannot be read is left out. `reading` is what read_superblocks() gave.
Task<Targets> list_targets(Disk& disk, const SuperblockReading& reading, TargetOptions options);

}  // namespace gemel::blockdev
