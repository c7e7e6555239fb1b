// SPDX-License-Identifier: Apache-2.0
//
// A sequencer over two members that answer when the test says so.
#pragma once

#include <gtest/gtest.h>

#include "mirror/sequencer.h"
#include "tests/unit/blockdev/store_world.h"
#include "tests/unit/mirror/fake_member.h"

namespace gemel::mirror {

inline const std::byte* some_blocks() {
    static const AlignedBytes data = blockdev::tagged_blocks(1, 300);
    return data.get();
}

// Writes queued together, and what became of them.
struct Queued {
    std::vector<Sequencer::Write> writes;
    std::optional<Status> status;

    void add(blockdev::EntryKind kind, uint64_t block, uint32_t count, bool joined = false) {
        Sequencer::Write& write = writes.emplace_back();
        write.what = {kind, block, count, some_blocks()};
        write.joined = joined;
    }
};

inline Task<void> commit_queued(Sequencer& sequencer, Queued& queued) {
    queued.status = co_await sequencer.commit(queued.writes);
}

class SequencerWorld : public ::testing::Test {
protected:
    explicit SequencerWorld(uint64_t next_sequence = 1) {
        Sequencer::Options options;
        options.volume = blockdev::fixed_uuid(0xa0);
        options.epoch_id = blockdev::fixed_uuid(0xe0);
        options.next_sequence = next_sequence;
        options.chain_hash = 99;
        sequencer_.emplace(*world_.env, members_, hasher_, pool_, options,
                           [this](const MemberFailure& failure) { fail(failure); });
    }
    // As a volume does that has no other member left.
    virtual void fail(const MemberFailure& failure) {
        failures_.push_back(failure);
        sequencer_->stop(Error{Errc::io, 0, "stopped"});
    }
    // As a volume does that goes on without the member: first it gets no more work, ...
    void give_up(size_t member) { members_.give_up(member, MemberState::failed, "a test"); }
    // ... and then the configuration without it is in force.
    void exclude(size_t member) {
        members_.move(member, MemberState::failed);
        sequencer_->members_changed();
        turn();
    }

    Queued& queue(blockdev::EntryKind kind, uint64_t block, uint32_t count) {
        Queued& queued = *queued_.emplace_back(std::make_unique<Queued>());
        queued.add(kind, block, count);
        start(queued);
        return queued;
    }
    Queued& queue_write(uint64_t block = 0, uint32_t count = 1) {
        return queue(blockdev::EntryKind::write, block, count);
    }
    void start(Queued& queued) { world_.start(commit_queued(*sequencer_, queued)); }
    // Runs all that is ready; the clock hardly moves.
    void turn() { world_.world.run_for(1); }
    void answer(size_t index, Status status = Status::success()) {
        a_.answer_append(index, status);
        b_.answer_append(index, status);
        turn();
    }
    void answer_all() {
        for (size_t i = answered_; i < a_.appends.size(); ++i) {
            a_.answer_append(i);
            b_.answer_append(i);
        }
        answered_ = a_.appends.size();
        turn();
    }
    void TearDown() override {
        while (answered_ < a_.appends.size()) answer_all();
        sequencer_->stop(Error{Errc::closed, 0, "the test is over"});
        EXPECT_TRUE(world_.finish());
    }

    blockdev::StoreWorld world_;
    ecc::BlockHasher hasher_{blockdev::fixed_secret()};
    blockdev::BufferPool pool_{8 << 20};
    FakeMember a_{*world_.env, "/a"};
    FakeMember b_{*world_.env, "/b"};
    MemberSet members_{*world_.env, {&a_, &b_}};
    std::optional<Sequencer> sequencer_;
    std::vector<std::unique_ptr<Queued>> queued_;
    std::vector<MemberFailure> failures_;
    size_t answered_ = 0;
};

}  // namespace gemel::mirror
