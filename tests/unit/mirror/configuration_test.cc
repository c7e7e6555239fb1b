// SPDX-License-Identifier: Apache-2.0
//
// Who may start a volume, case by case, and the witness file.
#include "mirror/configuration.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {
namespace {

using blockdev::ConfigurationRecord;
using blockdev::EpochRecord;
using blockdev::Superblock;

// A member's superblock after epochs that began at the given sequence numbers.
struct History {
    std::vector<uint64_t> epoch_starts{1};
    uint64_t tail = 1;
    uint8_t fork = 0;  // Another one: other epoch ids.
};

EpochRecord epoch_of(const History& history, size_t index) {
    EpochRecord epoch;
    epoch.number = index + 1;
    epoch.id = blockdev::fixed_uuid(static_cast<uint8_t>(0x80 + index * 16 + history.fork));
    epoch.first_sequence = history.epoch_starts[index];
    // What the batch before hashes to: only its number counts here.
    epoch.previous_hash = 7000 + history.epoch_starts[index];
    return epoch;
}

class StartTest : public ::testing::Test {
protected:
    explicit StartTest(size_t members = 2) : configured_(members) {}

    Superblock& member(size_t index, const History& history) {
        auto superblock = blockdev::make_superblock_buffer();
        superblock->magic = blockdev::kSuperblockMagic;
        superblock->version = 1;
        superblock->minimum_reader = 1;
        superblock->member = blockdev::fixed_uuid(static_cast<uint8_t>(0x10 * (index + 1)));
        superblock->volume = blockdev::fixed_uuid(0xa0);
        std::memcpy(superblock->name, "vol", 3);
        superblock->geometry = blockdev::to_record(blockdev::small_layout());
        superblock->secret = blockdev::fixed_secret();
        superblock->configuration = blockdev::fixed_configuration(configured_);
        superblock->configuration.epoch = epoch_of(history, history.epoch_starts.size() - 1);
        superblock->epoch_count = static_cast<uint32_t>(history.epoch_starts.size());
        for (size_t i = 0; i < history.epoch_starts.size(); ++i) {
            superblock->epochs[i] = epoch_of(history, i);
        }
        superblock->tail.sequence = history.tail;
        const EpochRecord& last = superblock->configuration.epoch;
        superblock->tail.previous_hash = history.tail == last.first_sequence
                                             ? blockdev::chain_start(last.id, last.previous_hash)
                                             : 7000 + history.tail;
        superblocks_.push_back(std::move(superblock));
        evidence_.push_back({"/m" + std::to_string(evidence_.size()), superblocks_.back().get()});
        return *superblocks_.back();
    }
    ConfigurationRecord configuration(const History& history) const {
        ConfigurationRecord record = blockdev::fixed_configuration(configured_);
        record.epoch = epoch_of(history, history.epoch_starts.size() - 1);
        return record;
    }
    Outcome<StartDecision> decide() { return decide_start(evidence_, witness_); }
    void expect_refused(Errc code, const std::string& text) {
        const auto decision = decide();
        ASSERT_FALSE(decision.ok());
        EXPECT_EQ(decision.error().code, code) << decision.error().text;
        EXPECT_NE(decision.error().text.find(text), std::string::npos) << decision.error().text;
    }

    size_t configured_;
    std::vector<std::unique_ptr<Superblock>> superblocks_;
    std::vector<MemberEvidence> evidence_;
    std::optional<ConfigurationRecord> witness_;
};

const History kFirst{};                    // Created, nothing written.
const History kThird{{1, 10, 40}, 40, 0};  // Reopened twice, closed in order.

TEST_F(StartTest, EqualMembersStart) {
    member(0, kThird);
    member(1, kThird);
    witness_ = configuration(kThird);
    const auto decision = decide();
    ASSERT_TRUE(decision.ok());
    EXPECT_EQ(decision.value().in_chain, (std::vector<size_t>{0, 1}));
    EXPECT_FALSE(decision.value().witness_is_lost);
}

TEST_F(StartTest, DifferentTailsInOneEpochAreAllInItsChain) {
    member(0, {{1, 10}, 25, 0});
    member(1, {{1, 10}, 10, 0});
    witness_ = configuration({{1, 10}, 10, 0});
    ASSERT_TRUE(decide().ok());
    EXPECT_EQ(decide().value().in_chain.size(), 2u);
}

TEST_F(StartTest, AStaleMemberIsRefusedByName) {
    member(0, kThird);
    member(1, {{1, 10}, 30, 0});  // The volume went on from 30 to 40 without it.
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m1: stale: it stopped at epoch 2, write 29");
}

TEST_F(StartTest, AStaleMemberIsRefusedWhereverItStandsInTheList) {
    member(0, {{1, 10}, 30, 0});
    member(1, kThird);
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m0: stale");
}

// The new epoch was written to one member only when the start broke off: nothing was served in it.
TEST_F(StartTest, AMemberThatOnlyMissedEmptyEpochsIsAccepted) {
    for (const bool swapped : {false, true}) {
        superblocks_.clear();
        evidence_.clear();
        const History newer{{1, 10, 40, 40}, 40, 0};
        History older{{1, 10}, 40, 0};
        member(0, swapped ? older : newer);
        member(1, swapped ? newer : older);
        witness_ = configuration(older);
        const auto decision = decide();
        ASSERT_TRUE(decision.ok()) << decision.error().text;
        EXPECT_EQ(decision.value().newest, swapped ? 1u : 0u);
        EXPECT_EQ(decision.value().in_chain, (std::vector<size_t>{swapped ? 1u : 0u}));
    }
}

TEST_F(StartTest, AnOldCopyThatLacksWritesIsRefused) {
    member(0, {{1, 10, 40}, 55, 0});
    member(1, {{1, 10}, 40, 0});
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m1: stale");
}

TEST_F(StartTest, AnOldCopyWhoseHistoryEndsBeforeTheNextEpochIsRefused) {
    member(0, {{1, 10, 40}, 40, 0});
    member(1, {{1, 10}, 39, 0});
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m1: stale");
}

TEST_F(StartTest, AnOldCopyThatEndsAtTheRightNumberAfterAnotherWriteIsRefused) {
    member(0, {{1, 10, 40}, 40, 0});
    member(1, {{1, 10}, 40, 0}).tail.previous_hash = 1234;
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m1: stale");
}

// Its epoch began where it ends, but the epochs between were not all empty.
TEST_F(StartTest, AnOldCopyIsRefusedWhenAnyEpochSinceHasWrites) {
    member(0, {{1, 10, 40, 45}, 45, 0});
    member(1, {{1, 10}, 40, 0});
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "/m1: stale");
}

TEST_F(StartTest, TheSameEpochNumberWithAnotherIdIsSplitBrain) {
    member(0, kThird);
    member(1, {{1, 10, 40}, 40, 1});
    expect_refused(Errc::stale, "split brain");
    EXPECT_NE(decide().error().text.find("/m0"), std::string::npos);
    EXPECT_NE(decide().error().text.find("/m1"), std::string::npos);
}

TEST_F(StartTest, AMemberOfAnotherVolumeIsRefusedByName) {
    member(0, kFirst);
    member(1, kFirst).volume = blockdev::fixed_uuid(0xb0);
    expect_refused(Errc::invalid, "/m1: belongs to another volume");
}

TEST_F(StartTest, TheSameMemberTwiceIsRefused) {
    member(0, kFirst);
    member(0, kFirst);
    expect_refused(Errc::invalid, "/m1: is the same member as /m0");
}

TEST_F(StartTest, AnotherGeometryOrSecretIsRefused) {
    member(0, kFirst);
    member(1, kFirst).secret[5] ^= std::byte{1};
    expect_refused(Errc::corrupt, "/m1: its geometry differs");
    superblocks_[1]->secret = superblocks_[0]->secret;
    superblocks_[1]->geometry.log_limit = 4096;
    expect_refused(Errc::corrupt, "/m1: its geometry differs");
}

TEST_F(StartTest, AMissingMemberIsNamed) {
    member(0, kThird);
    witness_ = configuration(kThird);
    expect_refused(Errc::not_found, blockdev::fixed_uuid(0x20).text());
}

TEST_F(StartTest, AMemberThatIsNotListedAnyMoreIsRefusedByName) {
    configured_ = 1;
    member(0, kThird);
    member(1, kThird);
    expect_refused(Errc::invalid, "/m1: is not a member of the volume any more");
}

TEST_F(StartTest, AWitnessThatKnowsANewerEpochMakesTheMembersStale) {
    member(0, kFirst);
    member(1, kFirst);
    witness_ = configuration(kThird);
    expect_refused(Errc::stale, "the witness knows epoch 3");
}

TEST_F(StartTest, AWitnessThatKnowsANewerVersionMakesTheMembersStale) {
    member(0, kThird);
    member(1, kThird);
    witness_ = configuration(kThird);
    witness_->version = 2;
    expect_refused(Errc::stale, "stale");
}

TEST_F(StartTest, AnOlderWitnessDoesNoHarm) {
    member(0, kThird);
    member(1, kThird);
    witness_ = configuration(kFirst);
    ASSERT_TRUE(decide().ok());
    EXPECT_FALSE(decide().value().witness_is_lost);
}

TEST_F(StartTest, AWitnessOfAForkIsSplitBrain) {
    member(0, kThird);
    member(1, kThird);
    witness_ = configuration({{1, 10, 40}, 40, 1});
    expect_refused(Errc::stale, "split brain");
}

TEST_F(StartTest, ALostWitnessIsToldAndReplacedByAllMembers) {
    member(0, kThird);
    member(1, kThird);
    ASSERT_TRUE(decide().ok());
    EXPECT_TRUE(decide().value().witness_is_lost);
    superblocks_.pop_back();
    evidence_.pop_back();
    EXPECT_FALSE(decide().ok());
}

// --- Configurations

TEST(Configuration, TheFirstOneListsTheMembers) {
    blockdev::StoreWorld world;
    const Uuid members[] = {blockdev::fixed_uuid(1), blockdev::fixed_uuid(40)};
    const ConfigurationRecord first = first_configuration(*world.env, members);
    EXPECT_EQ(blockdev::configuration_fault(first), nullptr);
    EXPECT_EQ(first.epoch.number, 1u);
    EXPECT_EQ(first.epoch.first_sequence, 1u);
    EXPECT_EQ(first.member_count, 2u);
    EXPECT_EQ(first.members[1].uuid, members[1]);
}

TEST(Configuration, EachEpochHasAnIdOfItsOwn) {
    blockdev::StoreWorld world;
    const ConfigurationRecord first = blockdev::fixed_configuration(2);
    const ConfigurationRecord second = next_epoch(*world.env, first, 50, 1234);
    const ConfigurationRecord other = next_epoch(*world.env, first, 50, 1234);
    EXPECT_EQ(second.epoch.number, 2u);
    EXPECT_EQ(second.epoch.first_sequence, 50u);
    EXPECT_EQ(second.epoch.previous_hash, 1234u);
    EXPECT_EQ(second.member_count, 2u);
    EXPECT_NE(second.epoch.id, first.epoch.id);
    EXPECT_NE(second.epoch.id, other.epoch.id);
    EXPECT_EQ(blockdev::configuration_fault(second), nullptr);
}

// --- Witness

class WitnessTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            write_witness(*world_.env, "/w", volume_, blockdev::fixed_configuration(2)).ok());
    }
    std::vector<std::byte>& bytes() { return world_.world.files()["/w"]; }
    Outcome<std::optional<ConfigurationRecord>> read() {
        return read_witness(*world_.env, "/w", volume_);
    }
    void reseal() {
        const le64 sum = ecc::hash64(std::span(bytes()).subspan(8));
        std::memcpy(bytes().data(), &sum, sizeof sum);
    }
    void expect_refused(Errc code, const std::string& text) {
        const auto result = read();
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code, code) << result.error().text;
        EXPECT_NE(result.error().text.find(text), std::string::npos) << result.error().text;
    }

    blockdev::StoreWorld world_;
    const Uuid volume_ = blockdev::fixed_uuid(0xa0);
};

TEST_F(WitnessTest, GoldenBytes) {
    ASSERT_EQ(bytes().size(), 472u);
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(8, 24)),
              "47574954"
              "01000000"                            // GWIT, version
              "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");  // volume
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(32, 56)),
              "0100000000000000"
              "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
              "0100000000000000"
              "0000000000000000"
              "0100000000000000"
              "00000000"
              "02000000");
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(88, 24)),
              "101112131415161718191a1b1c1d1e1f"
              "0000000000000000");
    EXPECT_EQ(ecc::hash64(bytes()), 0x123a29bc8cc425ed);
}

TEST_F(WitnessTest, GivesBackWhatWasWritten) {
    const auto result = read();
    ASSERT_TRUE(result.ok() && result.value().has_value());
    EXPECT_EQ(std::memcmp(&*result.value(), &bytes()[32], sizeof(ConfigurationRecord)), 0);
}

TEST_F(WitnessTest, NoneIsNoProblem) {
    world_.world.files().clear();
    ASSERT_TRUE(read().ok());
    EXPECT_FALSE(read().value().has_value());
}

TEST_F(WitnessTest, AnyFlippedBitIsRefused) {
    for (size_t bit = 0; bit < 472 * 8; ++bit) {
        bytes()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        ASSERT_FALSE(read().ok()) << bit;
        bytes()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
    EXPECT_TRUE(read().ok());
}

TEST_F(WitnessTest, AnyOtherLengthIsRefused) {
    const std::vector<std::byte> good = bytes();
    for (size_t length = 0; length < good.size(); length += 13) {
        bytes().assign(good.begin(), good.begin() + static_cast<ptrdiff_t>(length));
        expect_refused(Errc::corrupt, "/w: the witness is damaged");
    }
    bytes() = good;
    bytes().push_back(std::byte{0});
    expect_refused(Errc::corrupt, "/w: the witness is damaged");
}

TEST_F(WitnessTest, ThatOfAnotherVolumeIsRefused) {
    ASSERT_TRUE(write_witness(*world_.env, "/w", blockdev::fixed_uuid(0xb0),
                              blockdev::fixed_configuration(2))
                    .ok());
    expect_refused(Errc::invalid, "another volume");
}

TEST_F(WitnessTest, ANewerFormatIsRefused) {
    bytes()[12] = std::byte{2};
    reseal();
    expect_refused(Errc::unsupported, "format 2");
}

TEST_F(WitnessTest, AnImpossibleConfigurationIsRefused) {
    bytes()[32 + 52] = std::byte{17};
    reseal();
    expect_refused(Errc::corrupt, "impossible");
}

}  // namespace
}  // namespace gemel::mirror
