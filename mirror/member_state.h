// SPDX-License-Identifier: Apache-2.0
//
// What a member is to its volume at the moment. The table of legal moves is in member_state.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "blockdev/disk_format.h"

namespace gemel::mirror {

enum class MemberState : uint8_t {
    in_sync,    // Holds everything; counts for acknowledgements, and is read from.
    lagging,    // Follows as well as it can: gets all new writes, and is not waited for.
    behind,     // There, not up to date, waiting for its resync.
    resyncing,  // Being brought up to date; gets all new writes already.
    adding,     // The same, for one that was never in sync.
    offline,    // Taken out by the operator.
    failed,     // By an error or for want of progress; may still have requests in flight.
    missing,    // Not found, or not what it should be.
    diverged,   // Its history went on without the volume's: somebody has to decide.
    spare,      // Takes the place of one that fails.
    removed,    // A member no more: nothing shows it, and the configuration does not list it.
};
inline constexpr size_t kMemberStates = 11;

// As in JSON and in the design.
const char* name(MemberState state);
std::optional<MemberState> member_state_named(std::string_view name);

// The state that a member is configured as, in the same words.
const char* name(blockdev::ConfiguredState state);

bool may_move(MemberState from, MemberState to);

// What the configuration says of a member in this state, which is not `removed`.
blockdev::ConfiguredState configured_as(MemberState state);

}  // namespace gemel::mirror
