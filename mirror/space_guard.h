// SPDX-License-Identifier: Apache-2.0
//
// SpaceGuard: assures before a write is acknowledged that there is space to bring it home. While
// the members' file systems have plenty it costs a comparison; when one runs short, writes to
// blocks that have no space yet first wait for the logs to be emptied, then get ENOSPC if that was
// not enough. Overwrites of blocks that have their space always pass.
#pragma once

#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/member_set.h"
#include "mirror/pacer.h"
#include "mirror/sequencer.h"

namespace gemel::mirror {

class SpaceGuard {
public:
    SpaceGuard(Env& env, MemberSet& members, Sequencer& sequencer, Pacer& pacer);

    // True: the write may go on at once.
    bool admits(uint64_t bytes);
    // The long way, for when admits() said no: Errc::no_space if there really is no room.
    Task<Status> admit(uint64_t first_block, uint64_t block_count);

    // Zeroes that keep their space need it at home, though the log hardly shows it. Made as soon as
    // they are admitted, and kept until they are committed. No bytes are no promise.
    class Promise {
    public:
        Promise(SpaceGuard& guard, uint64_t bytes);
        ~Promise();
        Promise(const Promise&) = delete;
        Promise& operator=(const Promise&) = delete;

    private:
        SpaceGuard& guard_;
        bool counts_;
    };

    // Left free for what is not ours to see: file system metadata, checksum pages of a checkpoint.
    static constexpr uint64_t kReserveBytes = 8ull << 20;

private:
    uint64_t needed(uint64_t bytes);
    uint64_t promised();
    void refresh();
    Task<Result<bool>> allocated(uint64_t first_block, uint64_t block_count);

    Env& env_;
    MemberSet& members_;
    Sequencer& sequencer_;
    Pacer& pacer_;
    uint64_t free_bytes_ = UINT64_MAX;  // The least of all members, as last seen.
    uint64_t bytes_since_refresh_ = UINT64_MAX;
    uint64_t refreshed_ns_ = 0;
    uint64_t promised_bytes_ = 0;
    uint64_t promised_sequence_ = 0;  // All of it is home once every tail is beyond.
    size_t promises_open_ = 0;
};

}  // namespace gemel::mirror
