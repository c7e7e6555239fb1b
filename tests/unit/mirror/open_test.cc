// SPDX-License-Identifier: Apache-2.0
//
// Opening a volume: epochs, the witness, members that may not take part, and interruptions.
#include "mirror/open.h"

#include <gtest/gtest.h>

#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

std::unique_ptr<blockdev::Superblock> superblock_of(VolumeWorld& world, size_t member) {
    const auto disk = world.store.open_disk(VolumeWorld::path(member));
    auto reading = world.store.run(blockdev::read_superblocks(*disk));
    CHECK(reading.ok());
    return std::move(reading.value().superblock);
}

std::optional<blockdev::ConfigurationRecord> witness_of(VolumeWorld& world) {
    return read_witness(*world.store.env, "/witness", world.description.uuid).value().configuration;
}

void expect_refused(VolumeWorld& world, Errc code, const std::string& text) {
    const auto opened = world.try_open();
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(opened.error().code, code) << opened.error().text;
    EXPECT_NE(opened.error().text.find(text), std::string::npos) << opened.error().text;
}

TEST(Open, EveryOpeningBeginsAnEpochOnAllMembersAndTheWitness) {
    VolumeWorld world;
    Uuid previous;
    for (uint64_t epoch = 2; epoch < 6; ++epoch) {
        EXPECT_EQ(world.volume->report().epoch, epoch);
        const Uuid id = superblock_of(world, 0)->configuration.epoch.id;
        EXPECT_NE(id, previous);
        previous = id;
        EXPECT_EQ(superblock_of(world, 1)->configuration.epoch.id, id);
        EXPECT_EQ(superblock_of(world, 1)->configuration.epoch.number, epoch);
        EXPECT_EQ(witness_of(world)->epoch.id, id);
        ASSERT_TRUE(world.fill(0, 4096, 1).ok());
        ASSERT_TRUE(world.close().ok());
        world.open();
    }
}

TEST(Open, NumbersGoOnOverEpochs) {
    VolumeWorld world;
    for (uint64_t i = 1; i <= 5; ++i) {
        ASSERT_TRUE(world.fill(0, 4096, static_cast<uint8_t>(i)).ok());
        EXPECT_EQ(world.volume->report().commit_sequence, i);
        if (i % 2 == 0) {
            world.kill();
        } else {
            ASSERT_TRUE(world.close().ok());
        }
        world.open();
        EXPECT_EQ(world.value_of(0, 4096), static_cast<int>(i));
    }
}

// The epoch is stable on every member and at the witness before the first request is served.
TEST(Open, TheEpochIsStableEverywhereWhenTheVolumeIsThere) {
    VolumeWorld world({.open = false});
    world.open();
    EXPECT_EQ(world.drive(0).platter().unsynced(), 0u);
    EXPECT_EQ(world.drive(1).platter().unsynced(), 0u);
    world.lose_power();
    EXPECT_EQ(superblock_of(world, 0)->configuration.epoch.number, 2u);
    EXPECT_EQ(superblock_of(world, 1)->configuration.epoch.number, 2u);
    EXPECT_EQ(witness_of(world)->epoch.number, 2u);
}

TEST(Open, AMemberInUseIsRefused) {
    VolumeWorld world;
    world.store.restart();
    expect_refused(world, Errc::busy, "/m0: in use by process");
    static_cast<void>(world.volume.release());
}

TEST(Open, AFailedOpeningReleasesTheMembers) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 3).ok());
    ASSERT_TRUE(world.close().ok());
    const auto mine = *witness_of(world);
    const Uuid other = blockdev::fixed_uuid(1);
    ASSERT_TRUE(write_witness(*world.store.env, "/witness", other, mine).ok());
    expect_refused(world, Errc::invalid, "/witness: is the witness of another volume");
    ASSERT_TRUE(write_witness(*world.store.env, "/witness", world.description.uuid, mine).ok());
    world.open();
    EXPECT_EQ(world.value_of(0, 4096), 3);
}

TEST(Open, MembersOfAnotherVolumeAreRefused) {
    VolumeWorld world({.open = false});
    world.description.uuid = blockdev::fixed_uuid(1);
    expect_refused(world, Errc::not_found, "/m0: belongs to volume");
}

TEST(Open, ALostWitnessIsMadeAnewByAllMembers) {
    VolumeWorld world;
    ASSERT_TRUE(world.close().ok());
    world.store.world.files().clear();
    world.open();
    ASSERT_TRUE(witness_of(world).has_value());
    EXPECT_EQ(witness_of(world)->epoch.number, 3u);
}

TEST(Open, AWitnessThatKnowsMoreRefusesOldMembers) {
    VolumeWorld world;
    ASSERT_TRUE(world.close().ok());
    blockdev::ConfigurationRecord newer = *witness_of(world);
    newer.epoch.number = 9;
    ASSERT_TRUE(write_witness(*world.store.env, "/witness", world.description.uuid, newer).ok());
    expect_refused(world, Errc::stale, "the witness knows epoch 9");
}

// Copies a drive as it is now, to be put back later.
std::vector<std::byte> copy_of(VolumeWorld& world, size_t member) {
    return world.store.platter(VolumeWorld::path(member), 0, world.drive(member).platter().size());
}

TEST(Open, AnOldCopyThatLacksNoWritesIsTaken) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 1).ok());
    ASSERT_TRUE(world.close().ok());
    const auto old = copy_of(world, 1);
    world.open();
    ASSERT_TRUE(world.close().ok());
    world.drive(1).platter().tamper(0, old);
    world.open();
    ASSERT_TRUE(world.volume != nullptr);
    EXPECT_EQ(world.value_of(0, 4096), 1);
    EXPECT_EQ(superblock_of(world, 0)->configuration.epoch.id,
              superblock_of(world, 1)->configuration.epoch.id);
}

TEST(Open, TwoHistoriesAreNeverMerged) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 1).ok());
    ASSERT_TRUE(world.close().ok());
    const auto old_member = copy_of(world, 1);
    const auto old_other = copy_of(world, 0);
    const auto old_witness = world.store.world.files()["/witness"];
    world.open();
    ASSERT_TRUE(world.fill(0, 4096, 2).ok());
    ASSERT_TRUE(world.close().ok());
    const auto forked = copy_of(world, 1);
    // Both are put back, and the same epoch begins once more, with other writes.
    world.drive(0).platter().tamper(0, old_other);
    world.drive(1).platter().tamper(0, old_member);
    world.store.world.files()["/witness"] = old_witness;
    world.open();
    ASSERT_TRUE(world.fill(0, 4096, 3).ok());
    ASSERT_TRUE(world.close().ok());
    world.drive(1).platter().tamper(0, forked);
    const auto witness = world.store.world.files()["/witness"];
    world.store.world.files().clear();
    expect_refused(world, Errc::stale, "/m0 and /m1 hold two different histories");
    world.store.world.files()["/witness"] = witness;
    const auto parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(parts.value().members[0].state, MemberState::in_sync);
    EXPECT_EQ(parts.value().members[1].state, MemberState::diverged);
}

TEST(Open, AHoleBelowTheStablePointKeepsTheVolumeClosed) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 1).ok());
    const blockdev::LogTail tail = superblock_of(world, 0)->tail;
    ASSERT_TRUE(world.flush().ok());
    ASSERT_TRUE(world.fill(8192, 4096, 2).ok());
    world.kill();
    world.store.world.run_for(kSecond);
    const std::vector<std::byte> zeros(kBlockSize);
    for (size_t member = 0; member < 2; ++member) {
        world.drive(member).platter().tamper(blockdev::kLogOffset + tail.ring_offset, zeros);
    }
    expect_refused(world, Errc::corrupt, "the logs are damaged");
}

// --- Interruptions

// An opening with a log to settle, cut at the given moment, then opened again. True if the first
// one came to its end before.
bool interrupted_at(uint64_t seed, uint64_t crash_moment, bool power) {
    VolumeWorld world({.seed = seed});
    for (uint8_t i = 0; i < 6; ++i) EXPECT_TRUE(world.fill(i * 5000, 5000, i + 1).ok());
    EXPECT_TRUE(world.flush().ok());
    EXPECT_TRUE(world.fill(100'000, 9000, 77).ok());
    world.kill();
    world.store.world.run_for(kSecond);
    uint64_t moments = 0;
    world.store.world.watch([&world, &moments, crash_moment](const sim::Moment&) {
        if (moments++ == crash_moment) world.store.world.kill(*world.store.env);
    });
    OpenOptions options;
    options.cache_bytes = 1 << 20;
    auto first = world.store.try_run(open_volume(*world.store.env, world.description, options));
    world.store.world.watch(nullptr);
    const bool done = world.store.env->alive();
    if (done) { EXPECT_TRUE(first->ok()); }
    // Killed at the very last moment it still gives a volume, which is the dead process's.
    if (first.has_value() && first->ok()) world.volume = std::move(*first).value();
    if (power) {
        world.lose_power();
    } else {
        world.kill();
    }
    world.open();
    if (!world.volume) return true;
    for (uint8_t i = 0; i < 6; ++i) EXPECT_EQ(world.value_of(i * 5000, 5000), i + 1);
    // Never flushed by its client: a loss of power may take it, all of it, until the opening has
    // made it stable.
    const int unflushed = world.value_of(100'000, 9000);
    EXPECT_TRUE(unflushed == 77 || (unflushed == 0 && power && !done));
    EXPECT_TRUE(world.fill(0, 100, 9).ok());
    return done;
}

TEST(Open, InterruptedAnywhereTheNextOneFindsEverything) {
    for (const bool power : {false, true}) {
        uint64_t moment = 0;
        while (!interrupted_at(5, moment, power)) {
            ASSERT_FALSE(::testing::Test::HasFailure())
                << "moment " << moment << " power " << power;
            ++moment;
        }
        ASSERT_FALSE(::testing::Test::HasFailure());
        EXPECT_GT(moment, 80u);
    }
}

}  // namespace
}  // namespace gemel::mirror
