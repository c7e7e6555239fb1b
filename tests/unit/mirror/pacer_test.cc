// SPDX-License-Identifier: Apache-2.0
//
// When logs are brought home, how hard the brake is, and what draining means.
#include "mirror/pacer.h"

#include "tests/unit/mirror/sequencer_world.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kTotal = 64ull << 20;

TEST(Pace, FollowsHowFullTheLogIs) {
    struct Case {
        uint64_t percent;
        bool idle;
        bool wanted;
        bool checkpoint;
        bool brakes;
    };
    const Case cases[] = {
        {0, false, false, false, false}, {0, true, true, false, false},
        {1, false, false, false, false}, {1, true, false, true, false},
        {1, false, true, true, false},   {49, false, false, false, false},
        {50, false, false, true, false}, {74, false, false, true, false},
        {80, false, false, true, true},  {100, false, false, true, true},
    };
    for (const Case& one : cases) {
        const Pace pace = pace_for(kTotal / 100 * one.percent + (one.percent == 50 ? 64 : 0),
                                   kTotal, one.idle, one.wanted);
        EXPECT_EQ(pace.checkpoint, one.checkpoint) << one.percent;
        EXPECT_EQ(pace.delay_ns != 0, one.brakes) << one.percent;
    }
}

TEST(Pace, TheBrakeGrowsSmoothlyAndHasABound) {
    uint64_t previous = 0;
    for (uint64_t used = 0; used <= kTotal; used += kTotal / 1000) {
        const uint64_t delay = pace_for(used, kTotal, false, false).delay_ns;
        EXPECT_GE(delay, previous);
        EXPECT_LE(delay - previous, 50 * kMicrosecond);
        previous = delay;
    }
    EXPECT_GT(previous, 0u);
    EXPECT_LE(previous, 10 * kMillisecond);
    EXPECT_EQ(pace_for(2 * kTotal, kTotal, false, false).delay_ns,
              pace_for(kTotal, kTotal, false, false).delay_ns);
}

TEST(Pace, ASliceIsAFractionOfTheLogButNeverTiny) {
    const uint64_t slice = pace_for(kTotal, kTotal, false, false).slice_bytes;
    EXPECT_GT(slice, 0u);
    EXPECT_LT(slice, kTotal / 2);
    EXPECT_GE(pace_for(1 << 20, 3 << 20, false, false).slice_bytes, 1u << 20);
}

class PacerTest : public SequencerWorld {
protected:
    PacerTest() {
        a_.answers_at_once = b_.answers_at_once = true;
        flusher_.emplace(*world_.env, members_, *sequencer_,
                         [this](const MemberFailure& failure) { fail(failure); });
        pacer_.emplace(*world_.env, members_, *sequencer_, *flusher_,
                       [this](const MemberFailure& failure) { fail(failure); });
        world_.start(pacer_->run());
        turn();
    }
    void fail(const MemberFailure& failure) override {
        SequencerWorld::fail(failure);
        flusher_->stop();
        pacer_->stop();
    }
    void commit_one() {
        queue_write();
        a_.log_used += 8192;
        b_.log_used += 8192;
        turn();
        pacer_->note_progress();
        turn();
        answered_ = a_.appends.size();
    }
    Status drain(uint64_t patience_ns = 10 * kSecond) {
        return world_.run(pacer_->drain(world_.world.now_ns() + patience_ns));
    }
    void TearDown() override {
        pacer_->stop();
        answered_ = a_.appends.size();
        sequencer_->stop(Error{Errc::closed, 0, "the test is over"});
        EXPECT_TRUE(world_.finish());
    }

    std::optional<Flusher> flusher_;
    std::optional<Pacer> pacer_;
};

TEST_F(PacerTest, DrainingBringsEverythingHomeAfterAFlush) {
    commit_one();
    commit_one();
    EXPECT_TRUE(a_.checkpoints.empty());
    EXPECT_TRUE(drain().ok());
    ASSERT_FALSE(a_.checkpoints.empty());
    EXPECT_EQ(a_.checkpoints[0].sequence, 2u);
    EXPECT_EQ(a_.tail_sequence(), 3u);
    EXPECT_EQ(b_.tail_sequence(), 3u);
    EXPECT_GE(a_.flushes_ended, 1u);
    EXPECT_GE(pacer_->checkpoints(), 1u);
}

TEST_F(PacerTest, DrainingNothingIsDoneAtOnce) {
    EXPECT_TRUE(drain(0).ok());
    EXPECT_TRUE(a_.checkpoints.empty());
}

// What one member dropped from its log must be stable on all of them.
TEST_F(PacerTest, TailsMoveOnlyUpToTheStablePointOfAll) {
    commit_one();
    b_.holds_flushes = true;
    EXPECT_EQ(drain(kMillisecond).error().code, Errc::timed_out);
    EXPECT_TRUE(a_.checkpoints.empty());
    b_.holds_flushes = false;
    b_.release_flushes();
    EXPECT_TRUE(drain().ok());
}

TEST_F(PacerTest, AnIdleVolumeGoesHomeOnItsOwn) {
    commit_one();
    world_.world.run_for(Pacer::kIdleAfter_ns / 2);
    EXPECT_TRUE(a_.checkpoints.empty());
    world_.world.run_for(5 * Pacer::kIdleAfter_ns);
    EXPECT_FALSE(a_.checkpoints.empty());
    EXPECT_EQ(pacer_->log_bytes_used(), 0u);
}

TEST_F(PacerTest, AHalfFullLogIsBroughtHome) {
    a_.log_used = b_.log_used = 9ull << 20;
    commit_one();
    EXPECT_FALSE(a_.checkpoints.empty());
}

TEST_F(PacerTest, AfterAFlushTheStablePointIsLoggedLazily) {
    commit_one();
    ASSERT_TRUE(world_.run(flusher_->flush_to(1)).ok());
    const size_t before = a_.appended.size();
    world_.world.run_for(Pacer::kPointsAfter_ns * 3);
    ASSERT_GT(a_.appended.size(), before);
    EXPECT_EQ(a_.appended.back()->header().payload_blocks, 0u);
    EXPECT_EQ(a_.appended.back()->header().stable_point, 1u);
}

TEST_F(PacerTest, AFullFileSystemIsTriedAgainUntilSpaceIsBack) {
    commit_one();
    b_.checkpoint_status = Error{Errc::no_space, 28, "write"};
    EXPECT_EQ(drain().error().code, Errc::no_space);
    EXPECT_TRUE(pacer_->short_of_space());
    EXPECT_TRUE(failures_.empty());
    b_.checkpoint_status = Status::success();
    world_.world.run_for(10 * kSecond);
    EXPECT_FALSE(pacer_->short_of_space());
    EXPECT_EQ(b_.tail_sequence(), 2u);
}

TEST_F(PacerTest, WhatWaitsForRoomIsRefusedWhenTheLogCannotBeEmptied) {
    commit_one();
    b_.checkpoint_status = Error{Errc::no_space, 28, "write"};
    b_.room = 0;
    Queued& waiting = queue_write();
    turn();
    pacer_->note_progress();
    world_.world.run_for(5 * kSecond);
    ASSERT_TRUE(waiting.status.has_value());
    EXPECT_EQ(waiting.status->error().code, Errc::no_space);
    b_.room = UINT64_MAX;
    b_.checkpoint_status = Status::success();
    Queued& next = queue_write();
    world_.world.run_for(5 * kSecond);
    EXPECT_TRUE(next.status && next.status->ok());
}

TEST_F(PacerTest, AMemberThatCannotCheckpointFails) {
    commit_one();
    a_.checkpoint_status = Error{Errc::io, 5, "write"};
    EXPECT_EQ(drain().error().code, Errc::closed);
    ASSERT_EQ(failures_.size(), 1u);
    EXPECT_EQ(failures_[0].member, 0u);
}

TEST_F(PacerTest, AFailedFlushMovesNoTail) {
    commit_one();
    b_.flush_status = Error{Errc::io, 5, "fsync"};
    EXPECT_FALSE(drain().ok());
    EXPECT_TRUE(a_.checkpoints.empty());
    EXPECT_TRUE(b_.checkpoints.empty());
}

}  // namespace
}  // namespace gemel::mirror
