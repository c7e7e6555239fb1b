// SPDX-License-Identifier: Apache-2.0
//
// What can go wrong with the disks of one simulated run: a table of classes, each of which can be
// switched off on its own, and the mix of them that one seed draws.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tests/sim/random.h"

namespace gemel::sim {

enum class FaultClass : uint8_t {
    // Damage, by what becomes of a block.
    bit_rot,
    zeroed,
    garbage,
    swapped,      // Two blocks of one structure have each other's place.
    stale,        // An older version is back.
    stale_chain,  // A block with the structures above it, all as they were at one time.
    torn,
    unreadable,  // Until it is written to.
    // What becomes of a request.
    read_error,
    lost_write,  // Answered, never stored.
    // Where damage may fall.
    in_data,
    in_checksums,
    in_index,
    in_log,
    in_superblock,  // One copy.
    // When.
    offline,  // While no process runs.
    online,   // While the volume serves.
    // One block on all members at once.
    no_copy_left,
    // What befalls a member as a whole.
    hang,       // Nothing completes, for a while.
    failing,    // Writes fail, or flushes, or reads.
    dead,       // Everything fails.
    slow,       // Everything takes many times as long.
    operators,  // Taken offline, brought online.
    // The rest of what a run has.
    crash,
    short_space,
};
inline constexpr size_t kFaultClasses = 25;

const char* name(FaultClass fault);
std::optional<FaultClass> parse_fault_class(std::string_view text);

class FaultSet {
public:
    static FaultSet all() {
        FaultSet set;
        set.bits_.set();
        return set;
    }
    bool has(FaultClass fault) const { return bits_[static_cast<size_t>(fault)]; }
    void add(FaultClass fault) { bits_.set(static_cast<size_t>(fault)); }
    void remove(FaultClass fault) { bits_.reset(static_cast<size_t>(fault)); }
    // Names with commas between them.
    std::string names() const;
    FaultSet operator~() const {
        FaultSet set;
        set.bits_ = ~bits_;
        return set;
    }

private:
    std::bitset<kFaultClasses> bits_;
};

// What one seed has of it. Weights are relative, among the kinds of damage and among the places; 0:
// this seed does not have the class.
struct FaultMix {
    FaultSet allowed;  // What is drawn and not allowed does not happen, and moves nothing else.
    std::array<uint32_t, kFaultClasses> weights{};
    uint64_t offline_strikes_max = 0;
    uint64_t online_interval_ns_max = 0;  // 0: never.
    uint64_t outage_interval_ns_max = 0;
    uint64_t blocks_per_strike_max = 1;
    uint32_t request_rate = 0;  // Parts per million of requests that fail or are lost.

    // By weight, among the classes from `first` to `last`; nothing if it is not allowed, or none
    // has any weight.
    std::optional<FaultClass> draw(Random& random, FaultClass first, FaultClass last) const;
    bool has(FaultClass fault) const {
        return allowed.has(fault) && weights[static_cast<size_t>(fault)] != 0;
    }
    // Whether anything is damaged that a read, a scrub or the audit could find.
    bool any() const;
};
FaultMix draw_fault_mix(Random& random, FaultSet allowed);

}  // namespace gemel::sim
