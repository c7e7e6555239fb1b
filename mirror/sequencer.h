// SPDX-License-Identifier: Apache-2.0
//
// Sequencer: gives writes their place in the volume's history. Writes queue in the order in which
// they come; at the end of a loop turn they are numbered, copied once into a batch, and the batch
// goes to the log of every member (group commit: what arrives while enough batches are in flight
// makes up the next one, so a lone write never waits). The commit point advances in order, over
// batches that every member that counts has logged.
//
// Invariants: a numbered batch is immutable and is appended in order to all members that get any;
// a member whose append fails gets none after it. It counts, and holds up the commit point, until
// the configuration without it is in force and members_changed() says so. A batch's memory lives
// until every member has answered, whether anybody still waits for it or not.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"

namespace gemel::mirror {

class Sequencer {
public:
    struct Options {
        Uuid volume;
        Uuid epoch_id;
        uint64_t next_sequence = 0;
        uint64_t chain_hash = 0;  // What the first batch chains from.
    };
    Sequencer(Env& env, MemberSet& members, const ecc::BlockHasher& hasher,
              blockdev::BufferPool& pool, Options options, FailureSink on_failure);
    ~Sequencer();

    // One write in line, in its owner's frame. Whole blocks; at most kMaximumPayloadBlocks payload.
    struct Write {
        blockdev::BatchWrite what;
        bool joined = false;    // With the one queued next: both in one batch, all or none.
        uint64_t sequence = 0;  // Set when numbered.
    private:
        friend class Sequencer;
        Write* next_ = nullptr;
        Continuation committed_;  // Set on the last of a group that somebody awaits.
        Status status_;
    };

    // Queues all of `writes`, in order, and waits until the last one is committed. Groups of joined
    // writes are atomic. Their data must stay until then.
    class Commit {
    public:
        Commit(Sequencer& sequencer, std::span<Write> writes);
        bool await_ready() const { return false; }
        bool await_suspend(std::coroutine_handle<> handle);
        Status await_resume() const { return writes_.back().status_; }

    private:
        Sequencer& sequencer_;
        std::span<Write> writes_;
    };
    Commit commit(std::span<Write> writes) { return {*this, writes}; }

    // Logs a batch that carries nothing but today's points, if none is in flight.
    void log_points();

    uint64_t commit_point() const { return commit_point_; }
    uint64_t numbered() const { return next_sequence_ - 1; }
    uint64_t queued_bytes() const { return queued_bytes_; }  // Not yet in a log.
    uint64_t batches() const { return batches_; }
    bool idle() const { return queue_first_ == nullptr && in_flight_.empty(); }
    // Nothing is left with any device either.
    bool quiet() const { return idle() && lingering_.empty(); }
    // Where a member that joins now goes on: at once, without suspending in between.
    uint64_t next_sequence() const { return next_sequence_; }
    uint64_t chain_hash() const { return chain_hash_; }
    // A member does not count any more, or counts now.
    void members_changed() { advance_commit(); }
    // Another member gets this place: no batch so far was meant for it.
    void forget(size_t member);

    void set_stable_point(uint64_t sequence) { stable_point_ = sequence; }
    uint64_t last_logged_stable_point() const { return logged_stable_point_; }
    // Space was freed in the logs, or the pace has changed: goes on with what is queued.
    void resume();
    // Each batch waits this long after the last one; 0 as a rule. The volume's brake when logs
    // fill.
    void set_delay(uint64_t delay_ns) { delay_ns_ = delay_ns; }
    // When the oldest batch that the member has not answered was given to it; UINT64_MAX: it has
    // answered all of them.
    uint64_t oldest_unanswered_ns(size_t member) const;
    // Called with how long a member took for a batch.
    void set_on_logged(std::function<void(size_t member, uint64_t latency_ns)> call) {
        on_logged_ = std::move(call);
    }
    // True while the next batch waits for room, in a log or in memory.
    bool wants_room() const { return wants_room_; }
    // Called whenever that begins.
    void set_on_wants_room(std::function<void()> call) { on_wants_room_ = std::move(call); }
    // Answers what waits for room with `error`: the logs cannot be emptied. False, and nothing is
    // done, while batches are in flight.
    bool reject_queued(Error error);
    // Nothing is accepted any more; what is queued or not yet committed fails.
    void stop(Error error);

    static constexpr size_t kBatchesInFlight = 4;

private:
    struct Flight;
    void enqueue(Write& write);
    void schedule();
    void seal_all();
    bool seal_one();
    size_t gather(uint64_t& blocks) const;
    bool have_room(uint64_t bytes);
    void launch(blockdev::BatchRef batch, size_t writes);
    void logged(Flight& flight, size_t member);
    bool is_committed(const Flight& flight) const;
    void answer(Flight& flight, const Status& status);
    void retire(std::unique_ptr<Flight> flight);
    void recycle(std::unique_ptr<Flight> flight);
    void advance_commit();
    void finish(Write& write, const Status& status);
    void fail_queued_writes(Error error);
    std::unique_ptr<Flight> take_flight();

    Env& env_;
    MemberSet& members_;
    const ecc::BlockHasher& hasher_;
    blockdev::BufferPool& pool_;
    Options options_;
    FailureSink on_failure_;
    std::function<void()> on_wants_room_;
    std::function<void(size_t, uint64_t)> on_logged_;

    Write* queue_first_ = nullptr;
    Write** queue_tail_ = &queue_first_;
    uint64_t queued_bytes_ = 0;
    std::deque<std::unique_ptr<Flight>> in_flight_;  // In order.
    std::vector<std::unique_ptr<Flight>> spare_flights_;
    std::vector<std::unique_ptr<Flight>> lingering_;  // Answered, but not by every member.
    std::vector<blockdev::BatchWrite> gathered_;
    uint64_t next_sequence_;
    uint64_t chain_hash_;
    uint64_t commit_point_;
    uint64_t stable_point_;
    uint64_t logged_stable_point_ = 0;
    uint64_t batches_ = 0;
    uint64_t delay_ns_ = 0;
    uint64_t not_before_ns_ = 0;
    bool scheduled_ = false;
    bool wants_room_ = false;
    std::optional<Error> stopped_;
    Continuation turn_end_;
    Timer brake_;
};

}  // namespace gemel::mirror
