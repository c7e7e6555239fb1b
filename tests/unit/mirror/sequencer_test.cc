// SPDX-License-Identifier: Apache-2.0
//
// The order of writes: numbering, group commit, commit in order, failure, braking, a full log.
#include "mirror/sequencer.h"

#include "tests/unit/mirror/sequencer_world.h"

namespace gemel::mirror {
namespace {

using blockdev::EntryKind;
using blockdev::kBlockSize;

class SequencerTest : public SequencerWorld {};

TEST_F(SequencerTest, ALoneWriteIsSealedAtTheEndOfTheTurn) {
    Queued& queued = queue_write(7, 2);
    EXPECT_TRUE(a_.appended.empty());
    turn();
    ASSERT_EQ(a_.appended.size(), 1u);
    ASSERT_EQ(b_.appended.size(), 1u);
    // The very same batch, once encoded.
    EXPECT_EQ(a_.appended[0], b_.appended[0]);
    EXPECT_EQ(a_.appended[0]->first_sequence(), 1u);
    EXPECT_EQ(a_.appended[0]->header().previous_hash, 99u);
    EXPECT_EQ(a_.appended[0]->header().volume, blockdev::fixed_uuid(0xa0));
    EXPECT_EQ(a_.appended[0]->header().epoch_id, blockdev::fixed_uuid(0xe0));
    EXPECT_EQ(queued.writes[0].sequence, 1u);
    EXPECT_FALSE(queued.status.has_value());
}

TEST_F(SequencerTest, AWriteIsCommittedOnceEveryMemberHasLoggedIt) {
    Queued& queued = queue_write();
    turn();
    a_.answer_append(0);
    turn();
    EXPECT_FALSE(queued.status.has_value());
    EXPECT_EQ(sequencer_->commit_point(), 0u);
    b_.answer_append(0);
    turn();
    ASSERT_TRUE(queued.status.has_value());
    EXPECT_TRUE(queued.status->ok());
    EXPECT_EQ(sequencer_->commit_point(), 1u);
    EXPECT_TRUE(sequencer_->idle());
    answered_ = 1;
}

TEST_F(SequencerTest, WhatComesInOneTurnMakesOneBatchInOrder) {
    for (uint64_t i = 0; i < 20; ++i) queue_write(i * 10);
    turn();
    ASSERT_EQ(a_.appended.size(), 1u);
    ASSERT_EQ(a_.appended[0]->entries().size(), 20u);
    for (uint64_t i = 0; i < 20; ++i) {
        EXPECT_EQ(a_.appended[0]->entries()[i].first_block, i * 10);
        EXPECT_EQ(queued_[i]->writes[0].sequence, i + 1);
    }
}

TEST_F(SequencerTest, WhatComesWhileEnoughIsInFlightMakesTheNextBatch) {
    for (size_t i = 0; i < Sequencer::kBatchesInFlight; ++i) {
        queue_write();
        turn();
    }
    EXPECT_EQ(a_.appended.size(), Sequencer::kBatchesInFlight);
    for (int i = 0; i < 50; ++i) {
        queue_write();
        turn();
    }
    EXPECT_EQ(a_.appended.size(), Sequencer::kBatchesInFlight);
    EXPECT_EQ(sequencer_->queued_bytes(), 50 * kBlockSize);
    answer(0);
    ASSERT_EQ(a_.appended.size(), Sequencer::kBatchesInFlight + 1);
    EXPECT_EQ(a_.appended.back()->entries().size(), 50u);
    EXPECT_EQ(sequencer_->queued_bytes(), 0u);
    answered_ = 1;
}

TEST_F(SequencerTest, BatchesChainToEachOther) {
    for (int i = 0; i < 4; ++i) {
        queue_write(0, 3);
        turn();
    }
    for (size_t i = 1; i < 4; ++i) {
        EXPECT_EQ(a_.appended[i]->header().previous_hash, a_.appended[i - 1]->hash());
        EXPECT_EQ(a_.appended[i]->first_sequence(), a_.appended[i - 1]->last_sequence() + 1);
    }
    EXPECT_EQ(sequencer_->numbered(), 4u);
}

TEST_F(SequencerTest, BatchesCarryThePointsOfTheMomentTheyWereFormed) {
    queue_write();
    turn();
    answer(0);
    sequencer_->set_stable_point(1);
    queue_write();
    turn();
    EXPECT_EQ(a_.appended[0]->header().commit_point, 0u);
    EXPECT_EQ(a_.appended[1]->header().commit_point, 1u);
    EXPECT_EQ(a_.appended[1]->header().stable_point, 1u);
    EXPECT_EQ(sequencer_->last_logged_stable_point(), 1u);
    answered_ = 1;
}

TEST_F(SequencerTest, CommitsInOrderAlsoWhenALaterBatchIsLoggedFirst) {
    std::vector<Queued*> writes;
    for (int i = 0; i < 3; ++i) {
        writes.push_back(&queue_write());
        turn();
    }
    answer(2);
    answer(1);
    EXPECT_EQ(sequencer_->commit_point(), 0u);
    for (const Queued* write : writes) EXPECT_FALSE(write->status.has_value());
    answer(0);
    EXPECT_EQ(sequencer_->commit_point(), 3u);
    for (const Queued* write : writes) EXPECT_TRUE(write->status && write->status->ok());
    answered_ = 3;
}

TEST_F(SequencerTest, AMemberThatIsAheadDoesNotAdvanceTheCommitPoint) {
    for (int i = 0; i < 3; ++i) {
        queue_write();
        turn();
    }
    for (size_t i = 0; i < 3; ++i) a_.answer_append(i);
    b_.answer_append(0);
    turn();
    EXPECT_EQ(sequencer_->commit_point(), 1u);
    b_.answer_append(1);
    b_.answer_append(2);
    turn();
    EXPECT_EQ(sequencer_->commit_point(), 3u);
    answered_ = 3;
}

TEST_F(SequencerTest, JoinedWritesNeverPartOverTwoBatches) {
    // 250 blocks are queued before them: together they would not fit.
    queue_write(0, 250);
    Queued group;
    group.add(EntryKind::write, 400, 4, true);
    group.add(EntryKind::trim, 500, 4, true);
    group.add(EntryKind::write, 600, 4);
    start(group);
    turn();
    ASSERT_EQ(a_.appended.size(), 2u);
    EXPECT_EQ(a_.appended[0]->entries().size(), 1u);
    EXPECT_EQ(a_.appended[1]->entries().size(), 3u);
    answer_all();
    ASSERT_TRUE(group.status.has_value());
    EXPECT_TRUE(group.status->ok());
    EXPECT_EQ(group.writes[2].sequence, 4u);
}

TEST_F(SequencerTest, WritesThatAreNotJoinedMayPart) {
    Queued group;
    group.add(EntryKind::write, 0, 200);
    group.add(EntryKind::write, 400, 200);
    group.add(EntryKind::write, 800, 50);
    start(group);
    turn();
    ASSERT_EQ(a_.appended.size(), 2u);
    EXPECT_EQ(a_.appended[1]->header().payload_blocks, 250u);
    answer(0);
    EXPECT_FALSE(group.status.has_value());
    answer(1);
    EXPECT_TRUE(group.status && group.status->ok());
    answered_ = 2;
}

TEST_F(SequencerTest, BatchesAreFilledToTheirBoundAndNoFurther) {
    for (int i = 0; i < 600; ++i) queue(EntryKind::trim, 5, 1);
    turn();
    ASSERT_GE(a_.appended.size(), 3u);
    EXPECT_EQ(a_.appended[0]->entries().size(), 250u);
    EXPECT_EQ(a_.appended[1]->entries().size(), 250u);
    EXPECT_EQ(a_.appended[2]->entries().size(), 100u);
    for (int i = 0; i < 3; ++i) queue_write(0, 256);
    turn();
    EXPECT_EQ(a_.appended.size(), 4u);
    answer_all();
    EXPECT_EQ(a_.appended.size(), 6u);
    EXPECT_EQ(a_.appended[5]->header().payload_blocks, 256u);
}

TEST_F(SequencerTest, AFailedAppendFailsTheWriteAndStopsForGood) {
    Queued& first = queue_write();
    turn();
    Queued& second = queue_write();
    turn();
    Queued& third = queue_write();
    a_.answer_append(0);
    b_.answer_append(0, Error{Errc::io, 5, "write"});
    turn();
    ASSERT_EQ(failures_.size(), 1u);
    EXPECT_EQ(failures_[0].member, 1u);
    a_.answer_append(1);
    b_.answer_append(1);
    turn();
    for (size_t i = 2; i < a_.appends.size(); ++i) answer(i);
    for (const Queued* write : {&first, &second, &third}) {
        ASSERT_TRUE(write->status.has_value());
        EXPECT_FALSE(write->status->ok());
    }
    EXPECT_EQ(sequencer_->commit_point(), 0u);
    Queued& later = queue_write();
    turn();
    EXPECT_TRUE(later.status && !later.status->ok());
    answered_ = a_.appends.size();
}

TEST_F(SequencerTest, AfterAFailureNothingMoreIsAppended) {
    queue_write();
    turn();
    b_.answer_append(0, Error{Errc::no_space, 28, "write"});
    turn();
    const size_t before = a_.appended.size();
    queue_write();
    turn();
    sequencer_->log_points();
    turn();
    EXPECT_EQ(a_.appended.size(), before);
    a_.answer_append(0);
    turn();
    answered_ = a_.appends.size();
}

TEST_F(SequencerTest, WaitsWhileALogIsFullAndGoesOnWhenThereIsRoom) {
    b_.room = 2 * kBlockSize;
    Queued& queued = queue_write(0, 3);
    turn();
    EXPECT_TRUE(a_.appended.empty());
    EXPECT_TRUE(sequencer_->wants_room());
    queue_write();
    turn();
    EXPECT_TRUE(a_.appended.empty());
    sequencer_->resume();
    turn();
    EXPECT_TRUE(a_.appended.empty());
    EXPECT_TRUE(sequencer_->wants_room());
    b_.room = UINT64_MAX;
    sequencer_->resume();
    turn();
    ASSERT_EQ(a_.appended.size(), 1u);
    EXPECT_EQ(a_.appended[0]->entries().size(), 2u);
    EXPECT_FALSE(sequencer_->wants_room());
    answer_all();
    EXPECT_TRUE(queued.status && queued.status->ok());
}

TEST_F(SequencerTest, WhatWaitsForRoomIsRejectedOnlyOnceNothingIsInFlight) {
    Queued& logged = queue_write();
    turn();
    a_.room = 0;
    Queued& waiting = queue_write();
    turn();
    const Error full{Errc::no_space, 0, "full"};
    EXPECT_FALSE(sequencer_->reject_queued(full));
    EXPECT_FALSE(waiting.status.has_value());
    answer_all();
    EXPECT_TRUE(logged.status && logged.status->ok());
    EXPECT_TRUE(sequencer_->reject_queued(full));
    turn();
    ASSERT_TRUE(waiting.status.has_value());
    EXPECT_EQ(waiting.status->error().code, Errc::no_space);
    EXPECT_EQ(sequencer_->queued_bytes(), 0u);
    // It goes on, with the number that was not used.
    a_.room = UINT64_MAX;
    Queued& next = queue_write();
    turn();
    answer_all();
    EXPECT_TRUE(next.status && next.status->ok());
    EXPECT_EQ(next.writes[0].sequence, 2u);
}

TEST_F(SequencerTest, TheBrakeKeepsBatchesApartAndReleasedItLetsThemGo) {
    sequencer_->set_delay(kMillisecond);
    queue_write();
    turn();
    EXPECT_EQ(a_.appended.size(), 1u);
    queue_write();
    turn();
    EXPECT_EQ(a_.appended.size(), 1u);
    world_.world.run_for(kMillisecond / 2);
    queue_write();
    EXPECT_EQ(a_.appended.size(), 1u);
    world_.world.run_for(kMillisecond);
    ASSERT_EQ(a_.appended.size(), 2u);
    EXPECT_EQ(a_.appended[1]->entries().size(), 2u);
    sequencer_->set_delay(0);
    queue_write();
    turn();
    EXPECT_EQ(a_.appended.size(), 3u);
}

TEST_F(SequencerTest, PointsAreLoggedOnlyWhenIdle) {
    queue_write();
    turn();
    sequencer_->log_points();
    turn();
    EXPECT_EQ(a_.appended.size(), 1u);
    answer_all();
    sequencer_->set_stable_point(1);
    sequencer_->log_points();
    turn();
    ASSERT_EQ(a_.appended.size(), 2u);
    EXPECT_EQ(a_.appended[1]->header().stable_point, 1u);
    EXPECT_EQ(a_.appended[1]->header().payload_blocks, 0u);
    answer_all();
    EXPECT_EQ(sequencer_->commit_point(), 2u);
    a_.room = 0;
    sequencer_->log_points();
    turn();
    EXPECT_EQ(a_.appended.size(), 2u);
}

TEST_F(SequencerTest, StoppingAnswersAllAtOnceThoughMembersStillWork) {
    Queued& flying = queue_write();
    turn();
    a_.room = 0;
    Queued& queued = queue_write();
    turn();
    sequencer_->stop(Error{Errc::closed, 0, "over"});
    turn();
    ASSERT_TRUE(queued.status.has_value());
    EXPECT_EQ(queued.status->error().code, Errc::closed);
    ASSERT_TRUE(flying.status.has_value());
    EXPECT_EQ(flying.status->error().code, Errc::closed);
    EXPECT_TRUE(sequencer_->idle());
    EXPECT_FALSE(sequencer_->quiet());
    answer_all();
    EXPECT_TRUE(sequencer_->quiet());
    EXPECT_EQ(sequencer_->commit_point(), 0u);
}

// --- A member that fails

TEST_F(SequencerTest, NothingIsAcknowledgedWithoutAMemberBeforeTheConfigurationIs) {
    Queued& flying = queue_write();
    turn();
    give_up(1);
    a_.answer_append(0);
    turn();
    EXPECT_FALSE(flying.status.has_value());
    // What comes meanwhile goes to the other one only, and waits as well.
    Queued& later = queue_write();
    turn();
    ASSERT_EQ(a_.appends.size(), 2u);
    EXPECT_EQ(b_.appends.size(), 1u);
    a_.answer_append(1);
    turn();
    EXPECT_FALSE(later.status.has_value());
    EXPECT_EQ(sequencer_->commit_point(), 0u);
    exclude(1);
    EXPECT_TRUE(flying.status && flying.status->ok());
    EXPECT_TRUE(later.status && later.status->ok());
    EXPECT_EQ(sequencer_->commit_point(), 2u);
    b_.answer_append(0);
    turn();
    answered_ = 2;
}

TEST_F(SequencerTest, ABatchLivesUntilAMemberThatHungHasAnswered) {
    queue_write();
    turn();
    give_up(1);
    a_.answer_append(0);
    exclude(1);
    EXPECT_TRUE(sequencer_->idle());
    EXPECT_FALSE(sequencer_->quiet());
    b_.appended.clear();
    a_.appended.clear();
    ASSERT_NE(b_.appends[0]->batch, nullptr);
    EXPECT_EQ(b_.appends[0]->batch->first_sequence(), 1u);
    // Others come and go meanwhile.
    for (int i = 1; i <= 20; ++i) {
        queue_write();
        turn();
        a_.answer_append(static_cast<size_t>(i));
        turn();
    }
    EXPECT_EQ(sequencer_->commit_point(), 21u);
    EXPECT_EQ(b_.appends[0]->batch->first_sequence(), 1u);
    b_.answer_append(0);
    turn();
    EXPECT_TRUE(sequencer_->quiet());
    answered_ = a_.appends.size();
}

TEST_F(SequencerTest, AMemberThatJoinsGetsWhatComesFromThenOn) {
    give_up(1);
    exclude(1);
    queue_write();
    turn();
    members_.move(1, MemberState::behind);
    members_.move(1, MemberState::resyncing);
    members_[1].joined = true;
    Queued& later = queue_write();
    turn();
    ASSERT_EQ(b_.appends.size(), 1u);
    EXPECT_EQ(b_.appends[0]->batch->first_sequence(), 2u);
    a_.answer_append(0);
    a_.answer_append(1);
    turn();
    EXPECT_TRUE(later.status && later.status->ok());  // It is not waited for yet.
    // From its admission on it is; for what it never got it is not.
    Queued& before = queue_write();
    turn();
    members_[1].admitting = true;
    Queued& after = queue_write();
    turn();
    a_.answer_append(2);
    a_.answer_append(3);
    turn();
    EXPECT_FALSE(before.status.has_value());
    EXPECT_FALSE(after.status.has_value());
    for (size_t i = 0; i < 3; ++i) b_.answer_append(i);
    turn();
    EXPECT_TRUE(before.status && before.status->ok());
    EXPECT_TRUE(after.status && after.status->ok());
    answered_ = a_.appends.size();
}

TEST_F(SequencerTest, NumbersGoOnWhereTheEpochBegins) {
    // Another sequencer, of a volume that has history.
    Sequencer::Options options;
    options.next_sequence = 1000;
    options.chain_hash = 5;
    Sequencer later(*world_.env, members_, hasher_, pool_, options, [](const MemberFailure&) {});
    EXPECT_EQ(later.commit_point(), 999u);
    Queued queued;
    queued.add(EntryKind::write, 0, 1);
    world_.start(commit_queued(later, queued));
    turn();
    ASSERT_EQ(a_.appended.size(), 1u);
    EXPECT_EQ(a_.appended[0]->first_sequence(), 1000u);
    EXPECT_EQ(a_.appended[0]->header().previous_hash, 5u);
    EXPECT_EQ(a_.appended[0]->header().stable_point, 999u);
    answer_all();
    EXPECT_EQ(later.commit_point(), 1000u);
}

}  // namespace
}  // namespace gemel::mirror
