// SPDX-License-Identifier: Apache-2.0
//
// Settlement: after a crash, makes all members agree on one history before anything is served.
//
// The longest chain found in the union of all logs is kept; what lies beyond is void. A batch of
// the chain that a member lacks is written to its place in that member's ring, as if its append had
// come late. Once every log is whole and flushed, each member brings its log home on its own, with
// the checkpoint's usual order: a crash at any moment finds every batch of the chain on every
// member, in the log or at home, and settles again.
#pragma once

#include <span>

#include "blockdev/member.h"
#include "blockdev/result.h"
#include "blockdev/task.h"

namespace gemel::mirror {

struct Settled {
    uint64_t last_sequence = 0;  // The end of the history that is kept.
    uint64_t chain_hash = 0;     // What the next batch would chain from.
    uint64_t batches_kept = 0;
    uint64_t batches_completed = 0;  // Written to members that lacked them.
};

// `in_chain`: the members whose log belongs to the epoch `epoch_id`. The problem says what is
// missing where a hole reaches below the stable point or a member's history does not join.
Task<Outcome<Settled>> settle(std::span<blockdev::Member* const> in_chain, Uuid epoch_id);

}  // namespace gemel::mirror
