// SPDX-License-Identifier: Apache-2.0
//
// Who may start a volume: one case each, with what is said. start_table_test has them all.
#include "mirror/start_rules.h"

#include "tests/unit/mirror/start_world.h"

namespace gemel::mirror {
namespace {

using blockdev::ConfiguredState;
using blockdev::ResyncState;
using blockdev::Superblock;

class StartRulesTest : public ::testing::Test, protected StartWorld {
protected:
    void set_in_sync(Superblock& superblock, const std::vector<bool>& in_sync) {
        for (size_t i = 0; i < in_sync.size(); ++i) {
            superblock.configuration.members[i].state = in_sync[i] ? 0 : 1;
        }
    }
    std::string warnings(bool force = false) {
        std::string all;
        const auto decision = decide(force);
        if (!decision.ok()) return "refused: " + decision.error().text;
        for (const std::string& warning : decision.value().warnings) all += warning + "\n";
        return all;
    }
    void expect_warning(const std::string& text, bool force = false) {
        const std::string all = warnings(force);
        EXPECT_NE(all.find(text), std::string::npos) << all;
    }
};

const Past kFirst{};                   // Created, nothing written.
const Past kSecond{{1, 10}, 39};       // Reopened, and stopped at write 39.
const Past kThird{{1, 10, 40}, 39};    // The same, with one more epoch that has no writes.
const Past kWritten{{1, 10, 40}, 54};  // And some writes in that.

TEST_F(StartRulesTest, EqualMembersStart) {
    member(0, kWritten);
    member(1, kWritten);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "ii");
    EXPECT_FALSE(decide().value().witness_is_lost);
    EXPECT_FALSE(decide().value().forced);
    EXPECT_EQ(decide().value().next_epoch_number, 4u);
    EXPECT_EQ(warnings(), "");
}

TEST_F(StartRulesTest, DifferentLogsInOneEpochAreSettled) {
    member(0, {{1, 10}, 24});
    member(1, {{1, 10}, 9});
    witness = configuration({{1, 10}, 0});
    EXPECT_EQ(outcome(), "ii");
}

TEST_F(StartRulesTest, TheSurvivorStartsAloneAndSaysWhoIsMissing) {
    member(1, kWritten);
    absent(0);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "mi");
    EXPECT_EQ(decide().value().members[0].why, "/m0: not found (member " + uuid(0).text() + ")");
    expect_warning("/m0: missing: /m0: not found");
}

TEST_F(StartRulesTest, AMemberThatTheVolumeFileDoesNotListIsMissing) {
    member(0, kWritten);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "im");
    expect_warning("member " + uuid(1).text() + ": is not in the volume file");
}

TEST_F(StartRulesTest, AStaleMemberNeverStartsAlone) {
    member(1, kSecond);
    absent(0);
    witness = configuration(kWritten, {true, false});
    expect_refused(Errc::not_found, "/m0: not found");
    expect_refused(Errc::not_found, "the witness knows epoch 3");
    expect_refused(Errc::not_found,
                   "`gemel serve --force` would start from /m1 and lose the writes after 39 that "
                   "only /m0 may have");
}

TEST_F(StartRulesTest, AnOldCopyIsBehind) {
    member(0, kWritten);
    member(1, kSecond);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "ib");
    expect_warning("/m1: behind: stale: it stopped at epoch 2, write 39");
}

TEST_F(StartRulesTest, AnOldCopyIsToldWhereverItStandsInTheList) {
    member(0, kSecond);
    member(1, kWritten);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "bi");
    EXPECT_EQ(decide().value().newest, 1u);
}

TEST_F(StartRulesTest, OldCopiesOfAllMembersAreRefused) {
    member(0, kSecond);
    member(1, kSecond);
    witness = configuration(kWritten);
    expect_refused(Errc::stale,
                   "/m0: stale: it stopped at epoch 2, write 39, and the witness "
                   "knows epoch 3; /m1: stale");
    expect_refused(Errc::stale, "lose the writes after 39, if there were any");
}

TEST_F(StartRulesTest, OldCopiesOfTheSameEpochAreRefused) {
    member(0, kWritten);
    member(1, kWritten);
    witness = configuration(kWritten);
    witness->version = 2;
    expect_refused(Errc::stale, "stale");
}

// The new epoch was written to one member only when the start broke off: nothing was served in it.
TEST_F(StartRulesTest, AMemberThatOnlyMissedEpochsWithoutWritesLacksNothing) {
    for (const bool swapped : {false, true}) {
        clear();
        const Past newer{{1, 10, 40, 40}, 39};
        member(0, swapped ? kSecond : newer);
        member(1, swapped ? newer : kSecond);
        witness = configuration(kSecond);
        EXPECT_EQ(outcome(), swapped ? "li" : "il");
        EXPECT_EQ(decide().value().newest, swapped ? 1u : 0u);
    }
}

TEST_F(StartRulesTest, WhoeverLacksAWriteLacksSomething) {
    struct Lacking {
        Past newer, older;
    };
    const Lacking cases[] = {
        {kWritten, kSecond},               // The newer one wrote since.
        {kThird, {{1, 10}, 38}},           // It ends too early,
        {{{1, 10, 40, 45}, 44}, kSecond},  // or there were writes between.
    };
    for (const Lacking& lacking : cases) {
        clear();
        member(0, lacking.newer);
        member(1, lacking.older);
        witness = configuration(lacking.newer);
        EXPECT_EQ(outcome(), "ib");
    }
    clear();
    member(0, kThird);
    member(1, kSecond).tail.previous_hash = 1234;  // The right number after another write.
    witness = configuration(kThird);
    EXPECT_EQ(outcome(), "ib");
    clear();
    member(0, kThird);
    member(1, kSecond);
    evidence_[1].log_end = 41;  // Something in its log that the others did not get.
    witness = configuration(kThird);
    EXPECT_EQ(outcome(), "ib");
}

// --- Members out of sync

TEST_F(StartRulesTest, StatesThatAreNotInSyncStayAsConfigured) {
    const std::pair<ConfiguredState, const char*> states[] = {{ConfiguredState::behind, "ib"},
                                                              {ConfiguredState::adding, "ia"},
                                                              {ConfiguredState::offline, "io"},
                                                              {ConfiguredState::spare, "is"}};
    for (const auto& [state, expected] : states) {
        for (const bool there : {true, false}) {
            clear();
            member(0, kWritten).configuration.members[1].state = static_cast<uint32_t>(state);
            if (there) member(1, kSecond).configuration = superblocks_[0]->configuration;
            if (!there) absent(1);
            for (const bool witnessed : {true, false}) {
                witness.reset();
                if (witnessed) witness = superblocks_[0]->configuration;
                const bool missing = !there && state != ConfiguredState::offline;
                EXPECT_EQ(outcome(), missing ? "im" : expected);
                EXPECT_EQ(decide().value().members[1].configured, state);
            }
        }
    }
}

TEST_F(StartRulesTest, AMemberThatIsHalfCopiedIsNeverTrusted) {
    Superblock& half = member(0, kWritten);
    half.resync.state = static_cast<uint32_t>(ResyncState::running);
    half.resync.base_epoch = epoch_of(kWritten, 1).id;
    half.resync.base_sequence = 20;
    absent(1);
    witness = configuration(kWritten);
    expect_refused(Errc::not_found, "/m0: it was being brought up to date");
    // Not even by force: it holds no state that the volume ever had.
    EXPECT_EQ(outcome(true), "refused");
    absent_.clear();
    member(1, kWritten);
    EXPECT_EQ(outcome(), "bi");
    expect_warning("/m0: behind: its resync was interrupted");
}

TEST_F(StartRulesTest, AMemberThatIsNotListedAnyMoreIsPassedOver) {
    configured_ = 1;
    member(0, kWritten);
    configured_ = 2;
    member(1, kSecond);
    witness = superblocks_[0]->configuration;
    EXPECT_EQ(outcome(), "i");
    expect_warning("/m1: is not a member of the volume; it is left alone");
}

// --- Steps ahead of the witness

TEST_F(StartRulesTest, ExcludingAMemberWithoutTheWitnessDoesNotBind) {
    const auto without_m1 = configuration(kWritten, {true, false});
    // Both there: the member that was to leave leaves.
    member(0, kWritten).configuration = without_m1;
    superblocks_[0]->configuration.version = 2;
    member(1, kWritten);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "ib");
    // Each alone: nothing was acknowledged without the other.
    clear();
    member(0, kWritten).configuration = without_m1;
    superblocks_[0]->configuration.version = 2;
    absent(1);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "im");
    clear();
    member(1, kWritten);
    absent(0);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(), "mi");
}

TEST_F(StartRulesTest, AMemberAdmittedWithoutTheWitnessMayNotStart) {
    member(1, kWritten).configuration.version = 2;
    absent(0);
    witness = configuration(kWritten, {true, false});
    expect_refused(Errc::not_found, "/m0: not found");
    member(0, kWritten).configuration.version = 2;
    absent_.clear();
    EXPECT_EQ(outcome(), "ib");
}

// --- Split brain

TEST_F(StartRulesTest, TheSameEpochNumberTwiceWithWritesIsSplitBrain) {
    member(0, {{1, 10, 40}, 54, 0, 2});
    member(1, {{1, 10, 40}, 47, 1, 2});
    expect_refused(Errc::stale,
                   "/m0 and /m1 hold two different histories of this volume since "
                   "write 39 (split brain)");
    // A witness that knows one of them proves it.
    witness = configuration({{1, 10, 40}, 0, 1, 2});
    EXPECT_EQ(outcome(), "di");
    expect_warning("/m0: diverged: holds writes after 39 of a history of its own");
    witness = configuration({{1, 10, 40}, 0, 0, 2});
    EXPECT_EQ(outcome(), "id");
    // One that knows only what both were before proves neither.
    witness = configuration(kSecond);
    expect_refused(Errc::stale, "split brain");
    // One that knows a third one proves none.
    witness = configuration({{1, 10, 40}, 0, 2, 2});
    expect_refused(Errc::stale, "/m0: it holds another history than the witness (split brain)");
}

TEST_F(StartRulesTest, AForkWithoutWritesOnOneSideIsNone) {
    for (const bool witnessed : {true, false}) {
        clear();
        member(0, {{1, 10, 40}, 54, 0, 2}).configuration =
            configuration({{1, 10, 40}, 0, 0, 2}, {true, false});
        member(1, {{1, 10, 40}, 39, 1, 2}).configuration =
            configuration({{1, 10, 40}, 0, 1, 2}, {false, true});
        if (witnessed) witness = configuration(kSecond);
        EXPECT_EQ(outcome(), "ib");
    }
}

TEST_F(StartRulesTest, WritesThatAMemberAcknowledgedAloneAreNotThrownAway) {
    // In epoch 2 it excluded the other, which was then made to start without it.
    Superblock& alone = member(0, {{1, 10}, 60});
    set_in_sync(alone, {true, false});
    alone.configuration.version = 2;
    member(1, {{1, 10, 40}, 50}).configuration = configuration({{1, 10, 40}, 0}, {false, true});
    expect_refused(Errc::stale, "split brain");
    witness = superblocks_[1]->configuration;
    EXPECT_EQ(outcome(), "di");
    // The tail of a log that never counted alone is no history of its own.
    set_in_sync(alone, {true, true});
    EXPECT_EQ(outcome(), "bi");
    witness.reset();
    EXPECT_EQ(outcome(), "bi");
}

// --- Without a witness

TEST_F(StartRulesTest, WithoutAWitnessAllInSyncMustBeThere) {
    member(0, kWritten);
    member(1, kWritten);
    EXPECT_EQ(outcome(), "ii");
    EXPECT_TRUE(decide().value().witness_is_lost);
    clear();
    member(0, kWritten);
    absent(1);
    expect_refused(Errc::not_found,
                   "the witness is lost, so all members that were in sync last "
                   "must be there: /m1: not found");
    clear();
    member(0, kWritten);
    member(1, kSecond);
    expect_refused(Errc::stale, "/m1: stale");
}

TEST_F(StartRulesTest, AMemberThatWasAloneNeedsNobody) {
    set_in_sync(member(1, kWritten), {false, true});
    absent(0);
    EXPECT_EQ(outcome(), "mi");
    absent_.clear();
    member(0, kSecond);
    EXPECT_EQ(outcome(), "bi");
}

TEST_F(StartRulesTest, WhoeverKnowsOfANewerConfigurationKeepsTheOthersFromStarting) {
    set_in_sync(member(0, kWritten), {false, false, true});
    configured_ = 3;
    superblocks_[0]->configuration.member_count = 3;
    superblocks_[0]->configuration.members[2].uuid = uuid(2);
    member(1, kSecond);
    absent(2);
    expect_refused(Errc::not_found, "/m2: not found");
}

// --- By force

TEST_F(StartRulesTest, ForceStartsFromTheNewestThatIsThereAndSaysWhatMayBeLost) {
    member(1, kSecond);
    absent(0);
    witness = configuration(kWritten, {true, false});
    EXPECT_EQ(outcome(), "refused");
    EXPECT_EQ(outcome(true), "mi");
    EXPECT_TRUE(decide(true).value().forced);
    expect_warning("forced to start from /m1, giving up the writes after 39 that only /m0 may have",
                   true);
    // So that the others are known by their own epochs later.
    EXPECT_EQ(decide(true).value().next_epoch_number, 4u);
}

TEST_F(StartRulesTest, ForceChangesNothingWhereThereIsProof) {
    member(0, kWritten);
    member(1, kSecond);
    witness = configuration(kWritten);
    EXPECT_EQ(outcome(true), "ib");
    EXPECT_FALSE(decide(true).value().forced);
}

TEST_F(StartRulesTest, ForceEndsASplitBrainWithoutThrowingEitherAway) {
    member(0, {{1, 10, 40}, 54, 0, 2});
    member(1, {{1, 10, 40, 50}, 60, 1, 2});
    EXPECT_EQ(outcome(true), "di");
    EXPECT_EQ(decide(true).value().next_epoch_number, 5u);
}

// --- What cannot be

TEST_F(StartRulesTest, TheSameMemberTwiceIsRefused) {
    member(0, kFirst);
    member(0, kFirst);
    expect_refused(Errc::invalid, "/m0: is the same member as /m0");
}

TEST_F(StartRulesTest, AnotherGeometryOrSecretIsNotTaken) {
    member(0, kFirst);
    member(1, kFirst).secret[5] ^= std::byte{1};
    witness = configuration(kFirst);
    EXPECT_EQ(outcome(), "im");
    expect_warning("/m1: its geometry differs from that of /m0");
    superblocks_[1]->secret = superblocks_[0]->secret;
    superblocks_[1]->geometry.log_limit = 4096;
    EXPECT_EQ(outcome(), "im");
}

TEST_F(StartRulesTest, NobodyThereIsRefusedWithEveryReason) {
    absent(0);
    absent(1);
    expect_refused(Errc::not_found, "no member is there: /m0: not found; /m1: not found");
    EXPECT_EQ(outcome(true), "refused");
}

}  // namespace
}  // namespace gemel::mirror
