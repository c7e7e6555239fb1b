// SPDX-License-Identifier: Apache-2.0
//
// Every damage of a sweep: which, where, and doing it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/sweep/sweep_state.h"

namespace gemel::sim {

enum class SweepKind : uint8_t {
    flip,  // One bit of a sector.
    zero,
    garbage,
    torn,         // The last sectors of a block are older.
    swapped,      // Two blocks of one structure have each other's place.
    stale,        // A block as it was after an earlier checkpoint.
    stale_chain,  // One of home, with as many of the layers above as `layers` says, of one time.
};

struct SweepDamage {
    const char* place = "";
    SweepKind kind = SweepKind::flip;
    uint8_t layers = 0;
    size_t member = 0;
    uint64_t offset = 0;
    uint64_t length = kSectorSize;
    uint64_t other = 0;  // swapped: the partner's offset. torn, stale: which moment of the past.

    std::string text() const;
};

// How much of a sweep is wanted: every so many of its damages one, from `first` on. Those of log
// and home are most of them and have a share of their own.
struct SweepShare {
    uint64_t step = 1;
    uint64_t step_of_log_and_home = 1;
    uint64_t first = 0;
};

// flip, zero and garbage in every sector of one member: of superblocks, owner, health, log as far
// as it is used and a little further, index, checksum pages, home as far as anything is there. Each
// kind takes another member. Some of what is not in use is among them.
std::vector<SweepDamage> sector_damages(SweepState& state, SweepShare share);
// The other kinds in every block of these structures, and every superblock, that is in use.
std::vector<SweepDamage> block_damages(SweepState& state, SweepShare share);
// zero and garbage over whole structures, and over all that lies side by side, up to a member of
// which only one superblock is left.
std::vector<SweepDamage> range_damages(SweepState& state);

// False if that would change nothing.
bool do_damage(SweepState& state, const SweepDamage& damage, Random& random);

}  // namespace gemel::sim
