// SPDX-License-Identifier: Apache-2.0
//
// What the scrub says of itself, and what was found: plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mirror/block_set.h"
#include "mirror/damage.h"

namespace gemel::mirror {

// Damage to blocks of one member that lie side by side.
struct DamagedRange {
    size_t member = 0;
    DamageCause cause = DamageCause::bit_rot;
    BlockRange blocks;
    bool operator==(const DamagedRange&) const = default;
};

struct ScrubReport {
    bool running = false;
    uint64_t next_page = 0;
    uint64_t pages = 0;
    uint64_t started_s = 0;
    uint64_t finished_s = 0;
    uint64_t passes = 0;       // That came to their end.
    uint64_t remaining_s = 0;  // An estimate, while one is running.
    // Of the pass that is running, or was the last in this process.
    uint64_t blocks_checked = 0;
    uint64_t blocks_healed = 0;
    uint64_t tables_repaired = 0;
    uint64_t logs_healed = 0;
    // What was found since that pass began, by it or by a client's read: blocks by cause, and
    // which.
    DamageCounts found{};
    std::vector<DamagedRange> damage;
};

}  // namespace gemel::mirror
