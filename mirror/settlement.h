// SPDX-License-Identifier: Apache-2.0
//
// Settlement: after a crash, makes all members agree on one history before anything is served.
//
// The longest chain found in the union of all logs is kept; what lies beyond is void. A batch of
// the chain that a member lacks is written to its place in that member's ring, as if its append had
// come late. Once every log is whole and flushed, each member brings its log home on its own, with
// the checkpoint's usual order: a crash at any moment finds every batch of the chain on every
// member, in the log or at home, and settles again.
//
// What one member lost or cannot read is masked by another one that has it. A member whose log
// cannot be made whole so is left out, as long as one remains that proves the whole history.
#pragma once

#include <span>
#include <vector>

#include "blockdev/member.h"
#include "blockdev/result.h"
#include "blockdev/task.h"

namespace gemel::mirror {

struct Settled {
    uint64_t last_sequence = 0;  // The end of the history that is kept.
    uint64_t chain_hash = 0;     // What the next batch would chain from.
    uint64_t batches_kept = 0;
    uint64_t batches_completed = 0;  // Written to members that lacked them.
    // Of these, per member: those that were stable on it once, so that its log was damaged.
    std::vector<uint64_t> batches_healed;
    struct LeftOut {
        size_t member = 0;  // Its index in what settle() was given.
        Problem problem;
    };
    // To be opened anew before anything else is done with them.
    std::vector<LeftOut> left_out;
};

// `in_chain`: the members whose log belongs to the epoch `epoch_id`. `helpers`: others that are
// there, whatever they are worth: a batch that proves itself is good wherever it is found. The
// problem says what is missing where a hole reaches below the stable point or histories do not
// join.
Task<Outcome<Settled>> settle(std::span<blockdev::Member* const> in_chain,
                              std::span<blockdev::Member* const> helpers, Uuid epoch_id);

// Settles the log of a member that is not trusted (any more) by itself, in the newest epoch it
// knows of: brings home what its chain holds. Behind a hole, or a place that cannot be read, lies
// nothing that counts, and nothing is asked for it. A Problem (Errc::corrupt, and the like) says
// that the member's own tables are damaged or its device fails: then it holds nothing to build on.
Task<Outcome<Settled>> settle_alone(blockdev::Member& member);

// The last write in the member's own log, as settle_alone() would find it, or the one before its
// tail. Changes nothing.
Task<uint64_t> log_end(blockdev::Member& member);

}  // namespace gemel::mirror
