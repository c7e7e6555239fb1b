// SPDX-License-Identifier: Apache-2.0
//
// How far two members, or a member and its volume, have the same past. Pure.
//
// An epoch's id is random and belongs to one process, which gives each number in it once: whoever
// shares an epoch shares everything before it, and within it everything up to where the first of
// them ended. So histories are compared by epochs first and by numbers then, never by length.
#pragma once

#include <cstdint>
#include <vector>

#include "blockdev/disk_format.h"

namespace gemel::mirror {

// What somebody went through.
struct History {
    std::vector<blockdev::EpochRecord> epochs;  // Oldest first. The older ones may be forgotten.
    uint64_t end = 0;                           // The last write; 0: none.
};

// That of a member. `log_end`: the last write of the chain in its log, or the one before its tail
// if there is none (log_end() in settlement.h). While a resync is under way the member vouches only
// for what its record says: after that it is a mixture, and its epochs are the volume's.
History history_of(const blockdev::Superblock& superblock, uint64_t log_end);

struct Lineage {
    Uuid epoch;             // The newest one in common; nil if there is none.
    uint64_t sequence = 0;  // The last write in common; 0: nothing.
    // Whether each side has writes after that, and epochs of its own after `epoch`. Writes without
    // an epoch of one's own are the tail of a log that the other side did not get.
    bool first_went_on = false;
    bool first_has_own_epochs = false;
    bool second_went_on = false;
    bool second_has_own_epochs = false;
};

Lineage compare_histories(const History& first, const History& second);

}  // namespace gemel::mirror
