// SPDX-License-Identifier: Apache-2.0
#include "mirror/sequencer.h"

#include <algorithm>
#include <array>

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::Batch;
using blockdev::BatchRef;
using blockdev::BatchWrite;
using blockdev::EntryKind;
using blockdev::kBlockSize;
using blockdev::Member;

// One batch between its sealing and the last member's answer.
struct Sequencer::Flight {
    Sequencer* owner = nullptr;  // Null: it has gone, and left a device behind that still works.
    BatchRef batch;
    Write* first = nullptr;  // Its writes, linked; null for a batch of points.
    size_t writes = 0;
    uint32_t expected = 0;   // Members that got it, or should have. A bit each.
    uint32_t logged_by = 0;  // Those that have it.
    uint32_t working = 0;    // Those that have not answered yet.
    uint64_t launched_ns = 0;
    size_t outstanding = 0;  // Members that have not answered yet.
    bool lingers = false;    // Out of the line already.
    struct Append {
        Flight* flight = nullptr;
        blockdev::AppendRequest request;
    };
    std::array<Append, blockdev::kMaximumMembers> appends;
};

Sequencer::Sequencer(Env& env, MemberSet& members, const ecc::BlockHasher& hasher,
                     blockdev::BufferPool& pool, Options options, FailureSink on_failure)
    : env_(env),
      members_(members),
      hasher_(hasher),
      pool_(pool),
      options_(options),
      on_failure_(std::move(on_failure)),
      next_sequence_(options.next_sequence),
      chain_hash_(options.chain_hash),
      commit_point_(options.next_sequence - 1),
      stable_point_(options.next_sequence - 1) {
    turn_end_.context = this;
    turn_end_.run = [](void* self) {
        auto& sequencer = *static_cast<Sequencer*>(self);
        sequencer.scheduled_ = false;
        sequencer.seal_all();
    };
    brake_.continuation.context = this;
    brake_.continuation.run = [](void* self) { static_cast<Sequencer*>(self)->schedule(); };
}

Sequencer::~Sequencer() {
    CHECK(queue_first_ == nullptr && in_flight_.empty() && !scheduled_);
    env_.disarm(brake_);
    // A device that hangs still has their memory; if it ever answers, nobody is there to hear it.
    for (std::unique_ptr<Flight>& flight : lingering_) {
        flight->owner = nullptr;
        static_cast<void>(flight.release());
    }
}

Sequencer::Commit::Commit(Sequencer& sequencer, std::span<Write> writes)
    : sequencer_(sequencer), writes_(writes) {
    CHECK(!writes.empty() && !writes.back().joined);
}

bool Sequencer::Commit::await_suspend(std::coroutine_handle<> handle) {
    Write& last = writes_.back();
    if (sequencer_.stopped_) {
        last.status_ = *sequencer_.stopped_;
        return false;
    }
    last.committed_.resumes(handle);
    for (Write& write : writes_) sequencer_.enqueue(write);
    sequencer_.schedule();
    return true;
}

void Sequencer::enqueue(Write& write) {
    write.next_ = nullptr;
    *queue_tail_ = &write;
    queue_tail_ = &write.next_;
    if (write.what.kind == EntryKind::write) {
        queued_bytes_ += write.what.block_count * kBlockSize;
    }
}

void Sequencer::schedule() {
    if (scheduled_) return;
    scheduled_ = true;
    env_.at_turn_end(turn_end_);
}

void Sequencer::resume() {
    wants_room_ = false;
    schedule();
}

void Sequencer::seal_all() {
    if (stopped_) return;
    while (queue_first_ != nullptr && in_flight_.size() < kBatchesInFlight) {
        if (delay_ns_ != 0 && env_.now_ns() < not_before_ns_) {
            if (!brake_.armed()) env_.arm(brake_, not_before_ns_);
            return;
        }
        if (!seal_one()) return;
        if (delay_ns_ != 0) not_before_ns_ = env_.now_ns() + delay_ns_;
    }
}

// How many of the queued writes, in whole groups, make up the next batch.
size_t Sequencer::gather(uint64_t& blocks) const {
    size_t taken = 0;
    size_t seen = 0;
    uint64_t seen_blocks = 0;
    for (const Write* write = queue_first_; write != nullptr; write = write->next_) {
        ++seen;
        if (write->what.kind == EntryKind::write) seen_blocks += write->what.block_count;
        if (write->joined) continue;
        if (!blockdev::batch_fits(seen, seen_blocks)) break;
        taken = seen;
        blocks = seen_blocks;
    }
    CHECK(taken != 0);
    return taken;
}

// One that nobody waits for must not hold up the others either.
bool Sequencer::have_room(uint64_t bytes) {
    bool room = !pool_.full();
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.flows(i) || members_.member(i).has_room(bytes)) continue;
        if (members_[i].state == MemberState::lagging) {
            on_failure_({i, "its log is full: it cannot keep up", Error{Errc::no_space, 0, ""}});
        } else {
            room = false;
        }
    }
    return room;
}

bool Sequencer::seal_one() {
    uint64_t blocks = 0;
    const size_t count = gather(blocks);
    if (!have_room((1 + blocks) * kBlockSize)) {
        wants_room_ = true;
        if (on_wants_room_) on_wants_room_();
        return false;
    }
    gathered_.clear();
    uint64_t sequence = next_sequence_;
    const Write* write = queue_first_;
    for (size_t i = 0; i < count; ++i, write = write->next_) {
        gathered_.push_back(write->what);
        const_cast<Write*>(write)->sequence = sequence++;
    }
    blockdev::BatchPlace place;
    place.volume = options_.volume;
    place.epoch_id = options_.epoch_id;
    place.first_sequence = next_sequence_;
    place.previous_hash = chain_hash_;
    place.commit_point = commit_point_;
    place.stable_point = stable_point_;
    logged_stable_point_ = stable_point_;
    queued_bytes_ -= blocks * kBlockSize;
    launch(Batch::encode(pool_, hasher_, place, gathered_), count);
    return true;
}

void Sequencer::log_points() {
    if (stopped_ || !idle() || !have_room(kBlockSize)) return;
    blockdev::BatchPlace place;
    place.volume = options_.volume;
    place.epoch_id = options_.epoch_id;
    place.first_sequence = next_sequence_;
    place.previous_hash = chain_hash_;
    place.commit_point = commit_point_;
    place.stable_point = stable_point_;
    logged_stable_point_ = stable_point_;
    const BatchWrite points;
    launch(Batch::encode(pool_, hasher_, place, {&points, 1}), 0);
}

std::unique_ptr<Sequencer::Flight> Sequencer::take_flight() {
    if (!spare_flights_.empty()) {
        std::unique_ptr<Flight> flight = std::move(spare_flights_.back());
        spare_flights_.pop_back();
        return flight;
    }
    auto flight = std::make_unique<Flight>();
    flight->owner = this;
    for (Flight::Append& append : flight->appends) {
        append.flight = flight.get();
        append.request.done.context = &append;
        append.request.done.run = [](void* context) {
            auto& answered = *static_cast<Flight::Append*>(context);
            Flight& answered_flight = *answered.flight;
            if (answered_flight.owner == nullptr) return;
            const auto member = static_cast<size_t>(&answered - answered_flight.appends.data());
            answered_flight.owner->logged(answered_flight, member);
        };
    }
    return flight;
}

// Numbers are given: from here on the batch goes to every member, whatever happens.
void Sequencer::launch(BatchRef batch, size_t writes) {
    std::unique_ptr<Flight> flight = take_flight();
    flight->batch = batch;
    flight->writes = writes;
    flight->first = writes != 0 ? queue_first_ : nullptr;
    flight->expected = 0;
    flight->logged_by = 0;
    flight->working = 0;
    flight->launched_ns = env_.now_ns();
    for (size_t i = 0; i < writes; ++i) queue_first_ = queue_first_->next_;
    if (queue_first_ == nullptr) queue_tail_ = &queue_first_;
    next_sequence_ = batch->last_sequence() + 1;
    chain_hash_ = batch->hash();
    ++batches_;
    Flight& launched = *in_flight_.emplace_back(std::move(flight));
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.flows(i) || members_.counts(i)) launched.expected |= 1u << i;
        if (!members_.flows(i)) continue;
        ++launched.outstanding;
        launched.working |= 1u << i;
    }
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.flows(i)) continue;
        launched.appends[i].request.batch = batch;
        members_.member(i).append(launched.appends[i].request);
    }
}

void Sequencer::logged(Flight& flight, size_t member) {
    CHECK(flight.outstanding > 0);
    --flight.outstanding;
    flight.working &= ~(1u << member);
    const Status& status = flight.appends[member].request.status;
    if (status.ok()) {
        flight.logged_by |= 1u << member;
        if (on_logged_) on_logged_(member, env_.now_ns() - flight.launched_ns);
    } else {
        on_failure_({member, "appending to the log", status.error()});
    }
    if (!flight.lingers) return advance_commit();
    if (flight.outstanding != 0) return;
    const auto place =
        std::find_if(lingering_.begin(), lingering_.end(),
                     [&flight](const auto& candidate) { return candidate.get() == &flight; });
    CHECK(place != lingering_.end());
    std::unique_ptr<Flight> ended = std::move(*place);
    lingering_.erase(place);
    recycle(std::move(ended));
}

uint64_t Sequencer::oldest_unanswered_ns(size_t member) const {
    uint64_t oldest = UINT64_MAX;
    const auto consider = [&](const std::unique_ptr<Flight>& flight) {
        if ((flight->working >> member & 1) != 0) oldest = std::min(oldest, flight->launched_ns);
    };
    std::for_each(in_flight_.begin(), in_flight_.end(), consider);
    std::for_each(lingering_.begin(), lingering_.end(), consider);
    return oldest;
}

// Who does not count any more is not waited for. Who counts but never got the batch is: until it
// does not count any more.
bool Sequencer::is_committed(const Flight& flight) const {
    for (size_t i = 0; i < members_.size(); ++i) {
        const bool expected = (flight.expected >> i & 1) != 0;
        const bool has_it = (flight.logged_by >> i & 1) != 0;
        if (members_.counts(i) && expected && !has_it) return false;
    }
    return true;
}

void Sequencer::forget(size_t member) {
    for (const std::unique_ptr<Flight>& flight : in_flight_) flight->expected &= ~(1u << member);
}

// In order: a batch that was logged out of turn waits for those before it.
void Sequencer::advance_commit() {
    while (!stopped_ && !in_flight_.empty() && is_committed(*in_flight_.front())) {
        std::unique_ptr<Flight> flight = std::move(in_flight_.front());
        in_flight_.pop_front();
        commit_point_ = flight->batch->last_sequence();
        answer(*flight, Status::success());
        retire(std::move(flight));
    }
    if (queue_first_ != nullptr && !wants_room_ && !stopped_) schedule();
}

void Sequencer::answer(Flight& flight, const Status& status) {
    Write* write = flight.first;
    for (size_t i = 0; i < flight.writes; ++i) {
        Write* next = write->next_;
        finish(*write, status);
        write = next;
    }
    flight.first = nullptr;
    flight.writes = 0;
}

// While members still work on it, it stays, with its batch.
void Sequencer::retire(std::unique_ptr<Flight> flight) {
    if (flight->outstanding == 0) return recycle(std::move(flight));
    flight->lingers = true;
    lingering_.push_back(std::move(flight));
}

void Sequencer::recycle(std::unique_ptr<Flight> flight) {
    flight->lingers = false;
    flight->batch.reset();
    for (Flight::Append& append : flight->appends) append.request.batch.reset();
    spare_flights_.push_back(std::move(flight));
}

void Sequencer::finish(Write& write, const Status& status) {
    write.status_ = status;
    if (write.committed_.run != nullptr) env_.post(write.committed_);
}

// In order, and what is in flight first: the earlier pieces of a queued write may be there, in the
// same frame, which ends when its last piece does.
void Sequencer::stop(Error error) {
    if (stopped_) return;
    stopped_ = error;
    while (!in_flight_.empty()) {
        std::unique_ptr<Flight> flight = std::move(in_flight_.front());
        in_flight_.pop_front();
        answer(*flight, error);
        retire(std::move(flight));
    }
    fail_queued_writes(error);
}

bool Sequencer::reject_queued(Error error) {
    if (!in_flight_.empty()) return false;
    fail_queued_writes(error);
    wants_room_ = false;
    return true;
}

void Sequencer::fail_queued_writes(Error error) {
    Write* write = queue_first_;
    queue_first_ = nullptr;
    queue_tail_ = &queue_first_;
    queued_bytes_ = 0;
    while (write != nullptr) {
        Write* next = write->next_;
        finish(*write, error);
        write = next;
    }
}

}  // namespace gemel::mirror
