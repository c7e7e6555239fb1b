// SPDX-License-Identifier: Apache-2.0
//
// LogWriter: the live part of a member's log ring, from the tail to the head, and the appends that
// are on their way. It keeps every batch until the checkpoint has brought it home.
#pragma once

#include <deque>

#include "blockdev/disk.h"
#include "blockdev/layout.h"
#include "blockdev/log_ring.h"
#include "blockdev/member.h"

namespace gemel::blockdev {

class LogWriter {
public:
    LogWriter(Loop& loop, Disk& disk, const Layout& layout, const LogTail& tail);

    bool has_room(uint64_t batch_bytes) const;
    // The batch must be the next one, and there must be room.
    void append(AppendRequest& request);
    // Takes in a batch that is on disk already at `offset`.
    void adopt(BatchRef batch, uint64_t offset);

    // Contiguously logged up to here.
    uint64_t logged_sequence() const { return logged_sequence_; }
    uint64_t bytes_used() const { return used_; }
    uint64_t head() const { return head_; }

    struct Record {
        BatchRef batch;
        uint64_t offset = 0;  // In the ring.
        uint64_t cost = 0;    // With what was skipped before it.
        bool logged = false;
    };
    const std::deque<Record>& records() const { return records_; }
    // What the tail is once the first `count` records are home.
    LogTail tail_after(size_t count) const;
    // Frees them.
    void release(size_t count);
    // Starts a new epoch's chain on an empty log.
    void restart(uint64_t chain_hash);
    // Forgets what is in it.
    void drop();
    // Goes on somewhere else, with an empty log.
    void join(const LogTail& at);

private:
    Record& push(BatchRef batch, uint64_t offset);
    void advance_logged();
    static void on_logged(void* request);

    Loop& loop_;
    Disk& disk_;
    uint64_t ring_size_;
    uint64_t head_;
    uint64_t used_ = 0;
    uint64_t logged_sequence_;
    uint64_t next_sequence_;
    uint64_t chain_hash_;        // What the next batch chains from.
    size_t logged_records_ = 0;  // From the front on.
    std::deque<Record> records_;
};

}  // namespace gemel::blockdev
