// SPDX-License-Identifier: Apache-2.0
//
// The stable point: what a flush may claim, who shares one, and what a failed one means.
#include "mirror/flusher.h"

#include "tests/unit/mirror/sequencer_world.h"

namespace gemel::mirror {
namespace {

struct Waiting {
    std::optional<Status> status;
};

Task<void> flush_into(Flusher& flusher, uint64_t sequence, Waiting& out) {
    out.status = co_await flusher.flush_to(sequence);
}

class FlusherTest : public SequencerWorld {
protected:
    FlusherTest() {
        flusher_.emplace(*world_.env, members_, *sequencer_,
                         [this](const MemberFailure& failure) { fail(failure); });
    }
    void fail(const MemberFailure& failure) override {
        if (failure.error.code == Errc::closed) return;  // It was given up already.
        SequencerWorld::fail(failure);
        flusher_->stop();
    }
    // One more write, committed.
    void commit_one() {
        queue_write();
        turn();
        answer_all();
    }
    void commit_queued_on_a() {
        a_.holds_flushes = false;
        queue_write();
        turn();
        a_.answer_append(a_.appends.size() - 1);
        answered_ = a_.appends.size();
        turn();
    }
    Waiting& flush(uint64_t sequence) {
        Waiting& waiting = *waiting_.emplace_back(std::make_unique<Waiting>());
        world_.start(flush_into(*flusher_, sequence, waiting));
        turn();
        return waiting;
    }
    void hold() { a_.holds_flushes = b_.holds_flushes = true; }
    void release() {
        a_.release_flushes();
        b_.release_flushes();
        turn();
    }
    void TearDown() override {
        a_.holds_flushes = b_.holds_flushes = false;
        release();
        SequencerWorld::TearDown();
    }

    std::optional<Flusher> flusher_;
    std::vector<std::unique_ptr<Waiting>> waiting_;
};

TEST_F(FlusherTest, MakesWhatIsCommittedStable) {
    commit_one();
    EXPECT_EQ(flusher_->stable_point(), 0u);
    Waiting& waiting = flush(1);
    ASSERT_TRUE(waiting.status.has_value());
    EXPECT_TRUE(waiting.status->ok());
    EXPECT_EQ(flusher_->stable_point(), 1u);
    EXPECT_EQ(a_.flushes_begun, 1u);
    EXPECT_EQ(b_.flushes_begun, 1u);
}

TEST_F(FlusherTest, WhatIsStableNeedsNoFlush) {
    EXPECT_TRUE(flush(0).status->ok());
    commit_one();
    commit_one();
    flush(2);
    EXPECT_TRUE(flush(1).status->ok());
    EXPECT_TRUE(flush(2).status->ok());
    EXPECT_EQ(a_.flushes_begun, 1u);
}

TEST_F(FlusherTest, TheNextBatchCarriesTheNewStablePoint) {
    commit_one();
    flush(1);
    commit_one();
    EXPECT_EQ(a_.appended.back()->header().stable_point, 1u);
}

// Committed while the flush was under way: the disk may not have taken it.
TEST_F(FlusherTest, AFlushCoversOnlyWhatWasCommittedBeforeItWasSubmitted) {
    commit_one();
    hold();
    Waiting& first = flush(1);
    commit_one();
    Waiting& second = flush(2);
    EXPECT_EQ(flusher_->stable_point(), 0u);
    EXPECT_EQ(a_.flushes_begun, 1u);
    release();
    EXPECT_TRUE(first.status.has_value());
    EXPECT_FALSE(second.status.has_value());
    EXPECT_EQ(flusher_->stable_point(), 1u);
    EXPECT_EQ(a_.flushes_begun, 2u);
    release();
    EXPECT_TRUE(second.status && second.status->ok());
    EXPECT_EQ(flusher_->stable_point(), 2u);
}

TEST_F(FlusherTest, WhoeverComesMeanwhileSharesTheNextFlush) {
    commit_one();
    hold();
    flush(1);
    commit_one();
    std::vector<Waiting*> crowd;
    for (int i = 0; i < 20; ++i) crowd.push_back(&flush(2));
    release();
    release();
    for (const Waiting* waiting : crowd) EXPECT_TRUE(waiting->status && waiting->status->ok());
    EXPECT_EQ(a_.flushes_begun, 2u);
    EXPECT_EQ(b_.flushes_begun, 2u);
}

TEST_F(FlusherTest, IsStableOnlyOnceEveryMemberIs) {
    commit_one();
    hold();
    Waiting& waiting = flush(1);
    a_.release_flushes();
    turn();
    EXPECT_EQ(a_.flushes_ended, 1u);
    EXPECT_FALSE(waiting.status.has_value());
    EXPECT_EQ(flusher_->stable_point(), 0u);
    b_.release_flushes();
    turn();
    EXPECT_TRUE(waiting.status && waiting.status->ok());
}

TEST_F(FlusherTest, AFailedFlushFailsTheMemberAndIsNeverTriedAgain) {
    commit_one();
    hold();
    Waiting& first = flush(1);
    Waiting& second = flush(1);
    b_.flush_status = Error{Errc::io, 5, "fsync"};
    release();
    for (const Waiting* waiting : {&first, &second}) {
        ASSERT_TRUE(waiting->status.has_value());
        EXPECT_FALSE(waiting->status->ok());
    }
    ASSERT_EQ(failures_.size(), 1u);
    EXPECT_EQ(failures_[0].member, 1u);
    EXPECT_EQ(flusher_->stable_point(), 0u);
    // Not even once the device says that all is well: what it dropped will never be there.
    b_.flush_status = Status::success();
    EXPECT_FALSE(flush(1).status->ok());
    EXPECT_EQ(b_.flushes_begun, 1u);
    EXPECT_EQ(flusher_->stable_point(), 0u);
}

TEST_F(FlusherTest, AMemberThatIsGivenUpIsWaitedForUntilItDoesNotCount) {
    commit_one();
    hold();
    Waiting& waiting = flush(1);
    a_.release_flushes();
    give_up(1);
    b_.flush_status = Error{Errc::closed, 0, "given up"};
    b_.release_flushes();
    turn();
    // The other one has it stable, but the configuration still names both.
    EXPECT_FALSE(waiting.status.has_value());
    EXPECT_EQ(flusher_->stable_point(), 0u);
    exclude(1);
    ASSERT_TRUE(waiting.status.has_value());
    EXPECT_TRUE(waiting.status->ok());
    EXPECT_EQ(flusher_->stable_point(), 1u);
    // Nobody asks it any more.
    commit_queued_on_a();
    EXPECT_TRUE(flush(2).status->ok());
    EXPECT_EQ(b_.flushes_begun, 1u);
}

TEST_F(FlusherTest, WhatWasStableBeforeAFailureStaysSo) {
    commit_one();
    flush(1);
    commit_one();
    a_.flush_status = Error{Errc::io, 5, "fsync"};
    EXPECT_FALSE(flush(2).status->ok());
    EXPECT_TRUE(flush(1).status->ok());
}

}  // namespace
}  // namespace gemel::mirror
