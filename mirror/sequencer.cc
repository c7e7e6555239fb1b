// SPDX-License-Identifier: Apache-2.0
#include "mirror/sequencer.h"

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::Batch;
using blockdev::BatchRef;
using blockdev::BatchWrite;
using blockdev::EntryKind;
using blockdev::kBlockSize;
using blockdev::Member;

// One batch between its sealing and its commit.
struct Sequencer::Flight {
    Sequencer* owner = nullptr;
    BatchRef batch;
    Write* first = nullptr;  // Its writes, linked; null for a batch of points.
    size_t writes = 0;
    size_t outstanding = 0;  // Members that have not answered yet.
    bool failed = false;
    struct Append {
        Flight* flight = nullptr;
        blockdev::AppendRequest request;
    };
    std::vector<Append> appends;
};

Sequencer::Sequencer(Env& env, std::vector<Member*> members, const ecc::BlockHasher& hasher,
                     blockdev::BufferPool& pool, Options options, FailureSink on_failure)
    : env_(env),
      members_(std::move(members)),
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

bool Sequencer::seal_one() {
    uint64_t blocks = 0;
    const size_t count = gather(blocks);
    bool room = !pool_.full();
    for (const Member* member : members_) room &= member->has_room((1 + blocks) * kBlockSize);
    if (!room) {
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
    if (stopped_ || !idle()) return;
    for (const Member* member : members_) {
        if (!member->has_room(kBlockSize)) return;
    }
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
    flight->appends.resize(members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
        Flight::Append& append = flight->appends[i];
        append.flight = flight.get();
        append.request.done.context = &append;
        append.request.done.run = [](void* context) {
            auto& answered = *static_cast<Flight::Append*>(context);
            Flight& owner_flight = *answered.flight;
            if (!answered.request.status.ok()) {
                owner_flight.failed = true;
                const auto member = static_cast<size_t>(&answered - owner_flight.appends.data());
                owner_flight.owner->on_failure_(
                    {member, "appending to the log", answered.request.status.error()});
            }
            owner_flight.owner->logged(owner_flight);
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
    flight->failed = false;
    for (size_t i = 0; i < writes; ++i) queue_first_ = queue_first_->next_;
    if (queue_first_ == nullptr) queue_tail_ = &queue_first_;
    next_sequence_ = batch->last_sequence() + 1;
    chain_hash_ = batch->hash();
    ++batches_;
    flight->outstanding = members_.size();
    Flight& launched = *in_flight_.emplace_back(std::move(flight));
    for (size_t i = 0; i < members_.size(); ++i) {
        launched.appends[i].request.batch = batch;
        members_[i]->append(launched.appends[i].request);
    }
}

void Sequencer::logged(Flight& flight) {
    CHECK(flight.outstanding > 0);
    if (--flight.outstanding == 0) advance_commit();
}

// In order: a batch that was logged out of turn waits for those before it.
void Sequencer::advance_commit() {
    while (!in_flight_.empty() && in_flight_.front()->outstanding == 0) {
        std::unique_ptr<Flight> flight = std::move(in_flight_.front());
        in_flight_.pop_front();
        const bool good = !flight->failed && !stopped_;
        if (good) commit_point_ = flight->batch->last_sequence();
        const Status status =
            good ? Status::success() : Status(stopped_.value_or(Error{Errc::io, 0, "append"}));
        Write* write = flight->first;
        for (size_t i = 0; i < flight->writes; ++i) {
            Write* next = write->next_;
            finish(*write, status);
            write = next;
        }
        flight->batch.reset();
        for (Flight::Append& append : flight->appends) append.request.batch.reset();
        spare_flights_.push_back(std::move(flight));
    }
    if (stopped_) return fail_queue();
    if (queue_first_ != nullptr && !wants_room_) schedule();
}

void Sequencer::finish(Write& write, const Status& status) {
    write.status_ = status;
    if (write.committed_.run != nullptr) env_.post(write.committed_);
}

void Sequencer::stop(Error error) {
    if (stopped_) return;
    stopped_ = error;
    fail_queue();
}

// Only once nothing is in flight any more: the earlier pieces of a queued write may be there, in
// the same frame, which ends when its last piece does.
void Sequencer::fail_queue() {
    if (in_flight_.empty()) fail_queued_writes(*stopped_);
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
