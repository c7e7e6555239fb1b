// SPDX-License-Identifier: Apache-2.0
//
// Settlement: the longest chain in the union of all logs is kept on all members, whatever each of
// them lacks and wherever it is interrupted.
#include "mirror/settlement.h"

#include <gtest/gtest.h>

#include "tests/unit/mirror/settlement_world.h"

namespace gemel::mirror {
namespace {

void expect_refused(const Outcome<Settled>& settled, Errc code, const std::string& text) {
    ASSERT_FALSE(settled.ok());
    EXPECT_EQ(settled.error().code, code) << settled.error().text;
    EXPECT_NE(settled.error().text.find(text), std::string::npos) << settled.error().text;
}

void expect_left_out(const Outcome<Settled>& settled, size_t member, const std::string& text) {
    ASSERT_EQ(settled.value().left_out.size(), 1u);
    EXPECT_EQ(settled.value().left_out[0].member, member);
    const std::string& found = settled.value().left_out[0].problem.text;
    EXPECT_NE(found.find(text), std::string::npos) << found;
}

TEST(Settlement, NothingLoggedIsNothingToDo) {
    Crashed crashed(2);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 0u);
    EXPECT_EQ(settled.value().batches_kept, 0u);
    EXPECT_EQ(settled.value().chain_hash, crashed.chain.place.previous_hash);
    crashed.expect_settled(0);
}

TEST(Settlement, EqualLogsAreBroughtHome) {
    Crashed crashed(2);
    for (uint64_t i = 0; i < 5; ++i) {
        const size_t index = crashed.add_write(i * 3, 5);
        crashed.put(0, index);
        crashed.put(1, index);
    }
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 5u);
    EXPECT_EQ(settled.value().batches_kept, 5u);
    EXPECT_EQ(settled.value().batches_completed, 0u);
    EXPECT_EQ(settled.value().chain_hash, crashed.batches.back()->hash());
    crashed.expect_settled(5);
}

TEST(Settlement, TheLongestLogIsKeptOnAll) {
    Crashed crashed(3);
    for (size_t i = 0; i < 6; ++i) {
        crashed.add_write(i, 4);
        for (size_t member = 0; member < 3; ++member) {
            if (i < 2 * (member + 1)) crashed.put(member, i);
        }
    }
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 6u);
    EXPECT_EQ(settled.value().batches_completed, 6u);
    crashed.expect_settled(6);
}

TEST(Settlement, AHoleInOneLogIsFilledFromAnother) {
    Crashed crashed(2);
    for (size_t i = 0; i < 5; ++i) {
        crashed.add_write(i, 4);
        if (i != 1) crashed.put(0, i);
        if (i != 3) crashed.put(1, i);
    }
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().batches_completed, 2u);
    EXPECT_EQ(settled.value().batches_healed, (std::vector<uint64_t>{0, 0}));
    EXPECT_TRUE(crashed.ring_holds(0, 1));
    EXPECT_TRUE(crashed.ring_holds(1, 3));
    crashed.expect_settled(5);
}

TEST(Settlement, ATornBatchCountsAsMissing) {
    Crashed crashed(2);
    for (size_t i = 0; i < 3; ++i) {
        crashed.add_write(i * 8, 4);
        crashed.put(0, i);
        crashed.put(1, i);
    }
    const std::vector<std::byte> zeros(512);
    const uint64_t second = blockdev::kLogOffset + crashed.offsets[1];
    crashed.world.drive("/m0").platter().tamper(second + 3 * kBlockSize, zeros);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 3u);
    EXPECT_EQ(settled.value().batches_completed, 1u);
    crashed.expect_settled(3);
}

TEST(Settlement, AHoleOnAllVoidsWhatLiesBeyond) {
    Crashed crashed(2);
    for (size_t i = 0; i < 6; ++i) {
        crashed.add_write(i, 4);
        if (i == 3) continue;
        crashed.put(0, i);
        crashed.put(1, i);
    }
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 3u);
    crashed.expect_settled(3);
}

// The void batches still lie in the ring, each at the place where the next one is looked for, under
// the next number: only the epoch and the chain tell them from the history that is kept.
TEST(Settlement, AVoidedTailNeverComesBack) {
    Crashed crashed(2);
    for (size_t i = 0; i < 6; ++i) {
        crashed.add_write(i, 4);
        if (i == 3) continue;
        crashed.put(0, i);
        crashed.put(1, i);
    }
    auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    crashed.begin_epoch(settled.value());
    crashed.batches.resize(3);
    const std::vector<uint64_t> old_offsets = crashed.offsets;
    crashed.offsets.resize(3);
    crashed.head = old_offsets[3];
    // The new write number 4 takes the hole: the old 5 and 6 follow it at once.
    crashed.add_write(40, 4);
    EXPECT_EQ(crashed.offsets[3], old_offsets[3]);
    crashed.put(0, 3);
    settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().last_sequence, 4u);
    EXPECT_EQ(settled.value().batches_completed, 1u);
    crashed.expect_settled(4);
}

TEST(Settlement, AVoidedTailDoesNotComeBackInAnEpochWithoutWrites) {
    Crashed crashed(2);
    crashed.add_write(0, 4);
    crashed.add_write(4, 4);
    crashed.put(1, 1);
    for (int round = 0; round < 3; ++round) {
        const auto settled = crashed.settle_now();
        ASSERT_TRUE(settled.ok());
        EXPECT_EQ(settled.value().last_sequence, 0u);
        crashed.begin_epoch(settled.value());
    }
    crashed.expect_settled(0);
}

// --- What is refused

TEST(Settlement, AHoleAtOrBelowTheStablePointIsDamage) {
    Crashed crashed(2);
    for (size_t i = 0; i < 5; ++i) {
        crashed.chain.place.stable_point = i < 4 ? 0 : 3;
        crashed.add_write(i, 4);
        if (i == 2) continue;
        crashed.put(0, i);
        crashed.put(1, i);
    }
    expect_refused(crashed.settle_now(), Errc::corrupt, "writes 3 to 3");
    // Once one member has it again, all is well.
    crashed.members.clear();
    crashed.put(1, 2);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    // And is told of the other one.
    EXPECT_EQ(settled.value().batches_healed, (std::vector<uint64_t>{1, 0}));
    EXPECT_EQ(crashed.members[0]->counters().log_blocks_healed, 1u);
    crashed.expect_settled(5);
}

TEST(Settlement, AHoleJustAboveTheStablePointIsNoDamage) {
    Crashed crashed(2);
    for (size_t i = 0; i < 5; ++i) {
        crashed.chain.place.stable_point = i < 4 ? 0 : 2;
        crashed.add_write(i, 4);
        if (i != 2) crashed.put(1, i);
    }
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok());
    EXPECT_EQ(settled.value().last_sequence, 2u);
    crashed.expect_settled(2);
}

TEST(Settlement, ARefusalChangesNothing) {
    Crashed crashed(2);
    for (size_t i = 0; i < 5; ++i) {
        crashed.chain.place.stable_point = i;
        crashed.add_write(i, 4);
        if (i != 2) crashed.put(i % 2, i);
    }
    crashed.open();
    size_t changes = 0;
    crashed.world.world.watch([&changes](const sim::Moment& moment) {
        if (moment.io != IoKind::read) ++changes;
    });
    const std::vector<Member*> all = crashed.pointers();
    const auto settled = crashed.world.run(settle(all, {}, crashed.chain.place.epoch_id));
    expect_refused(settled, Errc::corrupt, "writes 3 to 4");
    EXPECT_EQ(changes, 0u);
}

// Writes another tail into both superblocks of a member.
void set_tail(Crashed& crashed, size_t member, uint64_t sequence, uint64_t previous_hash) {
    const auto disk = crashed.world.open_disk(Crashed::path(member));
    auto reading = crashed.world.run(blockdev::read_superblocks(*disk));
    blockdev::SuperblockStore store(*disk, std::move(reading.value().superblock));
    store.editable().tail.sequence = sequence;
    store.editable().tail.previous_hash = previous_hash;
    ASSERT_TRUE(crashed.world.run(store.write_both()).ok());
}

TEST(Settlement, HistoriesThatDoNotJoinAreRefused) {
    Crashed crashed(2);
    for (size_t i = 0; i < 4; ++i) {
        crashed.add_write(i, 4);
        crashed.put(0, i);
    }
    set_tail(crashed, 1, 3, 12345);
    expect_refused(crashed.settle_now(), Errc::stale, "/m1: its history does not join");
}

TEST(Settlement, ATailInsideAnotherMembersBatchIsRefused) {
    Crashed crashed(2);
    crashed.add({{EntryKind::trim, 0, 1, nullptr},
                 {EntryKind::trim, 1, 1, nullptr},
                 {EntryKind::trim, 2, 1, nullptr}});
    crashed.put(0, 0);
    set_tail(crashed, 1, 2, crashed.batches[0]->hash());
    expect_refused(crashed.settle_now(), Errc::stale, "/m1: its history does not join");
}

// What one says is home on it, the other one must have had.
TEST(Settlement, AMemberThatEndsBeforeAnothersTailIsLeftOut) {
    Crashed crashed(2);
    for (size_t i = 0; i < 3; ++i) {
        crashed.add_write(i, 4);
        crashed.put(0, i);
    }
    set_tail(crashed, 1, 9, 12345);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().last_sequence, 8u);
    EXPECT_EQ(settled.value().batches_kept, 0u);
    expect_left_out(settled, 0, "/m0: stale: its log ends at write 3, and that of /m1 begins at");
}

// Its newest superblock was lost: the older one names a tail whose batches are overwritten by now.
TEST(Settlement, AMemberWhoseSuperblockIsOlderThanItsLogIsLeftOut) {
    for (const size_t members : {1, 2, 3}) {
        Crashed crashed(members);
        const auto old_superblock = crashed.world.platter("/m0", 0, blockdev::kSuperblockSize);
        crashed.open();
        // Several times round the ring, and home on all.
        for (size_t i = 0; i < 12; ++i) {
            crashed.chain.place.stable_point = i;
            crashed.add_write(0, 250);
            for (auto& member : crashed.members) {
                blockdev::append_and_wait(crashed.world, *member, crashed.batches[i]);
                ASSERT_TRUE(crashed.world.run(member->flush()).ok());
                if (i % 2 == 0) continue;
                ASSERT_TRUE(crashed.world.run(member->checkpoint(i + 1, UINT64_MAX, 32)).ok());
            }
        }
        crashed.members.clear();
        const std::vector<std::byte> zeros(blockdev::kSuperblockSize);
        const uint64_t b_offset = crashed.layout.superblock_b_offset;
        crashed.world.drive("/m0").platter().tamper(0, old_superblock);
        crashed.world.drive("/m0").platter().tamper(b_offset, zeros);
        const auto settled = crashed.settle_now();
        // Alone it cannot be helped, but the stable point tells.
        ASSERT_EQ(settled.ok(), members > 1);
        if (members == 1) continue;
        EXPECT_EQ(settled.value().last_sequence, 12u);
        expect_left_out(settled, 0, "/m0: stale");
    }
}

TEST(Settlement, AMemberWhoseLogCannotHoldTheHistoryIsLeftOut) {
    Crashed crashed(2);
    // One more than the ring has place for, on a member that brought the first one home.
    size_t count = 0;
    for (uint64_t used = 0; used + blockdev::kMaximumBatchSize <= crashed.layout.log_size;
         used += blockdev::kMaximumBatchSize) {
        crashed.add_write(0, blockdev::kMaximumPayloadBlocks);
        ++count;
    }
    crashed.open();
    blockdev::append_and_wait(crashed.world, *crashed.members[1], crashed.batches[0]);
    ASSERT_TRUE(crashed.world.run(crashed.members[1]->checkpoint(1, UINT64_MAX, 32)).ok());
    crashed.members.clear();
    crashed.put(0, 0);
    for (size_t i = 1; i < count; ++i) crashed.put(1, i);
    crashed.add_write(0, blockdev::kMaximumPayloadBlocks);
    crashed.put(1, count);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().last_sequence, count + 1);
    expect_left_out(settled, 0, "/m0: what it should have in its log is more than that holds");
}

TEST(Settlement, TwoWritesUnderOneNumberAreRefused) {
    Crashed crashed(2);
    const blockdev::BatchPlace start = crashed.chain.place;
    crashed.add_write(0, 4);
    crashed.put(0, 0);
    crashed.chain.place = start;
    crashed.batches.clear();
    crashed.offsets.clear();
    crashed.head = 0;
    crashed.add_write(8, 4);
    crashed.put(1, 0);
    expect_refused(crashed.settle_now(), Errc::stale, "/m1: holds another write 1");
}

TEST(Settlement, WhatCannotBeReadInOneLogIsFetchedFromAnother) {
    Crashed crashed(2);
    for (size_t i = 0; i < 3; ++i) {
        crashed.add_write(i, 4);
        crashed.put(0, i);
        crashed.put(1, i);
    }
    const uint64_t second = (blockdev::kLogOffset + crashed.offsets[1]) / kBlockSize;
    crashed.world.drive("/m1").faults.unreadable_pages = {second + 1};
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().batches_completed, 1u);
    crashed.expect_settled(3);
    EXPECT_TRUE(crashed.ring_holds(1, 1));
}

TEST(Settlement, ALogThatNoMemberCanReadIsAnError) {
    Crashed crashed(2);
    crashed.add_write(0, 4);
    for (const size_t member : {0u, 1u}) {
        crashed.put(member, 0);
        crashed.world.drive(Crashed::path(member)).faults.unreadable_pages = {
            blockdev::kLogOffset / kBlockSize + 1};
    }
    expect_refused(crashed.settle_now(), Errc::io, "/m0: settlement: reading the log");
}

TEST(Settlement, AHoleIsFilledFromAMemberThatHasItHomeAlready) {
    Crashed crashed(2);
    for (size_t i = 0; i < 3; ++i) {
        crashed.add_write(i, 4);
        crashed.put(0, i);
        crashed.put(1, i);
    }
    crashed.open();
    Member& ahead = *crashed.members[0];
    for (size_t i = 0; i < 3; ++i) ahead.adopt(crashed.batches[i], crashed.offsets[i]);
    ASSERT_TRUE(crashed.world.run(ahead.checkpoint(3, blockdev::kMiB, 8)).ok());
    crashed.members.clear();
    const std::vector<std::byte> rubbish(512, std::byte{0x55});
    crashed.world.drive("/m1").platter().tamper(
        blockdev::kLogOffset + crashed.offsets[1] + kBlockSize, rubbish);
    const auto settled = crashed.settle_now();
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().batches_completed, 1u);
    crashed.expect_settled(3);
}

// Each has what the other cannot read.
TEST(Settlement, UnreadablePlacesInBothLogsAreMasked) {
    Crashed crashed(2);
    for (size_t i = 0; i < 4; ++i) {
        crashed.add_write(i * 4, 4);
        crashed.put(0, i);
        crashed.put(1, i);
    }
    for (const size_t bad : {0, 1}) {
        crashed.world.drive(Crashed::path(bad)).faults.unreadable_pages = {
            (blockdev::kLogOffset + crashed.offsets[1 + bad]) / kBlockSize};
    }
    ASSERT_TRUE(crashed.settle_now().ok());
    crashed.expect_settled(4);
}

TEST(Settlement, AnEndThatNobodyCanReadIsNone) {
    for (const size_t members : {1, 2}) {
        Crashed crashed(members);
        for (size_t i = 0; i < 2; ++i) {
            crashed.add_write(i * 4, 4);
            for (size_t member = 0; member < members; ++member) {
                crashed.put(member, i);
                crashed.world.drive(Crashed::path(member)).faults.unreadable_pages = {
                    (blockdev::kLogOffset + crashed.offsets[i]) / kBlockSize};
            }
        }
        expect_refused(crashed.settle_now(), Errc::io, "settlement: reading the log");
    }
}

TEST(Settlement, AMemberThatFailsOnTheWayIsLeftOut) {
    struct Fault {
        const char* text;
        uint32_t sim::DriveFaults::* rate;
    };
    for (const Fault& fault : {Fault{"completing the log", &sim::DriveFaults::write_error_rate},
                               Fault{"flushing the log", &sim::DriveFaults::sync_error_rate}}) {
        for (const size_t bad : {0, 1}) {
            Crashed crashed(2);
            crashed.add_write(0, 4);
            crashed.put(1 - bad, 0);
            crashed.open();
            crashed.world.drive(Crashed::path(bad)).faults.*fault.rate = sim::kCertain;
            const std::vector<Member*> all = crashed.pointers();
            const auto settled = crashed.world.run(settle(all, {}, crashed.chain.place.epoch_id));
            ASSERT_TRUE(settled.ok()) << settled.error().text;
            EXPECT_EQ(settled.value().last_sequence, 1u);
            expect_left_out(settled, bad, fault.text);
        }
    }
}

TEST(Settlement, TheErrorOfTheLastMemberIsTheVolumes) {
    Crashed crashed(2);
    crashed.add_write(0, 4);
    for (const size_t member : {0, 1}) {
        crashed.put(member, 0);
        crashed.world.drive(Crashed::path(member)).faults.sync_error_rate = sim::kCertain;
    }
    expect_refused(crashed.settle_now(), Errc::io, "/m1: settlement: flushing the log");
}

TEST(Settlement, AFullFileSystemLosesNothing) {
    sim::FileSystem space;
    Crashed crashed(2, 1, &space);
    for (size_t i = 0; i < 4; ++i) {
        crashed.add_write(i * 8, 8);
        crashed.put(0, i);
        crashed.put(1, i);
    }
    space.capacity_pages = space.used_pages + 10;
    expect_refused(crashed.settle_now(), Errc::no_space, "/m0: its file system is full");
    space.capacity_pages = UINT64_MAX;
    ASSERT_TRUE(crashed.settle_now().ok());
    crashed.expect_settled(4);
}

// --- Every order of events

// Three members that have checkpointed differently, and lack different batches of the rest.
size_t make_history(Crashed& crashed, uint64_t seed) {
    sim::Random random(seed);
    crashed.open();
    const size_t common = random.below(6);
    const size_t total = common + random.below(8);
    for (size_t i = 0; i < total; ++i) {
        if (i >= common) crashed.chain.place.stable_point = common;
        const uint64_t block = random.below(kBlocks - 8);
        const auto count = static_cast<uint32_t>(random.between(1, 8));
        const bool clears = random.chance(200'000);
        if (clears) crashed.add({{EntryKind::trim, block, count, nullptr}});
        if (!clears) crashed.add_write(block, count);
        if (i >= common) continue;
        for (auto& member : crashed.members) {
            blockdev::append_and_wait(crashed.world, *member, crashed.batches[i]);
        }
    }
    for (auto& member : crashed.members) {
        CHECK(crashed.world.run(member->flush()).ok());
        CHECK(crashed.world.run(member->checkpoint(random.below(common + 1), UINT64_MAX, 32)).ok());
    }
    crashed.members.clear();
    size_t end = common;
    bool whole = true;
    for (size_t i = common; i < total; ++i) {
        bool anywhere = false;
        for (size_t member = 0; member < crashed.configuration.member_count; ++member) {
            if (!random.chance(600'000)) continue;
            crashed.put(member, i);
            anywhere = true;
        }
        whole = whole && anywhere;
        if (whole) end = i + 1;
    }
    return end;
}

TEST(Settlement, AnyMixOfLogsGivesTheLongestChain) {
    for (uint64_t seed = 1; seed <= 60; ++seed) {
        Crashed crashed(2 + seed % 2, seed);
        const size_t end = make_history(crashed, seed);
        const auto settled = crashed.settle_now();
        ASSERT_TRUE(settled.ok()) << "seed " << seed << ": " << settled.error().text;
        EXPECT_EQ(settled.value().last_sequence, end) << "seed " << seed;
        crashed.expect_settled(end);
        // And again: nothing is left to do.
        const auto again = crashed.settle_now();
        ASSERT_TRUE(again.ok());
        EXPECT_EQ(again.value().batches_kept, 0u);
        EXPECT_EQ(again.value().last_sequence, end);
        EXPECT_EQ(again.value().chain_hash, settled.value().chain_hash);
        crashed.expect_settled(end);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
    }
}

// Settles, dies at the given moment, settles again. True if it came to its end before.
bool interrupted_at(uint64_t seed, uint64_t crash_moment, bool power) {
    const auto crashed = std::make_unique<Crashed>(2, seed);
    const size_t end = make_history(*crashed, seed);
    crashed->open();
    StoreWorld& world = crashed->world;
    uint64_t moments = 0;
    world.world.watch([&world, &moments, crash_moment](const sim::Moment&) {
        if (moments++ == crash_moment) world.world.kill(*world.env);
    });
    const std::vector<Member*> all = crashed->pointers();
    const bool done = world.try_run(settle(all, {}, crashed->chain.place.epoch_id)).has_value();
    world.world.watch(nullptr);
    if (done) return true;
    // Nothing of the dead process runs any more, and nothing touches its members. What its
    // coroutines hold stays behind, so its pool does.
    crashed->members.clear();
    static_cast<void>(crashed->pool.release());
    crashed->pool = std::make_unique<blockdev::BufferPool>(0);
    if (power) world.world.lose_power(0, {&world.drive("/m0"), &world.drive("/m1")});
    world.restart();
    const auto settled = crashed->settle_now();
    EXPECT_TRUE(settled.ok()) << settled.error().text;
    if (!settled.ok()) return true;
    EXPECT_EQ(settled.value().last_sequence, end);
    crashed->expect_settled(end);
    return false;
}

TEST(Settlement, InterruptedAnywhereItEndsTheSame) {
    for (const uint64_t seed : {3, 4, 8}) {
        for (const bool power : {false, true}) {
            uint64_t moment = 0;
            while (!interrupted_at(seed, moment, power)) {
                ASSERT_FALSE(::testing::Test::HasFailure())
                    << "seed " << seed << " moment " << moment << " power " << power;
                ++moment;
            }
            ASSERT_FALSE(::testing::Test::HasFailure());
            EXPECT_GT(moment, 15u);
        }
    }
}

}  // namespace
}  // namespace gemel::mirror
