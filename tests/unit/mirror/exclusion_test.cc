// SPDX-License-Identifier: Apache-2.0
//
// Members that fail under a serving volume: it goes on without them.
#include <gtest/gtest.h>

#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

std::string state_of(VolumeWorld& world, size_t member) {
    return world.volume->report().members[member].state;
}

blockdev::ConfigurationRecord witness_of(VolumeWorld& world) {
    const auto witness = read_witness(*world.store.env, "/witness", world.description.uuid);
    CHECK(witness.ok() && witness.value().configuration);
    return *witness.value().configuration;
}

bool is_in_sync(const blockdev::ConfigurationRecord& configuration, size_t member) {
    return configuration.members[member].state ==
           static_cast<uint32_t>(blockdev::ConfiguredState::in_sync);
}

Task<void> write_zeros(Volume& volume) {
    const AlignedBytes data = allocate_zeroed(4096);
    const Status status = co_await volume.write(0, {data.get(), 4096}, {});
    EXPECT_TRUE(status.ok());
}

TEST(Exclusion, AWriteThatFailsOnOneMemberSucceeds) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    world.drive(1).faults.write_error_rate = sim::kCertain;
    EXPECT_TRUE(world.fill(4096, 4096, 6).ok());
    EXPECT_EQ(state_of(world, 1), "failed");
    EXPECT_EQ(world.volume->report().state, "serving");
    EXPECT_NE(world.volume->report().members[1].why.find("appending to the log"),
              std::string::npos);
    // It was so in the configuration, at the witness, before the write was answered.
    const auto configuration = witness_of(world);
    EXPECT_TRUE(is_in_sync(configuration, 0));
    EXPECT_FALSE(is_in_sync(configuration, 1));
    EXPECT_EQ(configuration.version, 2u);
    EXPECT_TRUE(world.fill(8192, 4096, 7).ok());
    EXPECT_TRUE(world.flush().ok());
    EXPECT_EQ(world.value_of(0, 4096), 5);
    EXPECT_EQ(world.value_of(4096, 4096), 6);
    EXPECT_EQ(world.value_of(8192, 4096), 7);
    EXPECT_TRUE(world.drain().ok());
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AFlushThatFailsIsNotRepeatedAndTheMemberLeaves) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    world.drive(0).faults.sync_error_rate = sim::kCertain;
    size_t syncs = 0;
    world.store.world.watch([&](const sim::Moment& moment) {
        const bool counts = moment.kind == sim::MomentKind::submitting &&
                            moment.io == IoKind::sync && moment.drive == &world.drive(0);
        syncs += counts ? 1 : 0;
    });
    EXPECT_TRUE(world.flush().ok());
    EXPECT_EQ(syncs, 1u);
    world.drive(0).faults.sync_error_rate = 0;
    EXPECT_TRUE(world.fill(0, 4096, 6, {.fua = true}).ok());
    EXPECT_EQ(syncs, 1u);
    world.store.world.watch(nullptr);
    EXPECT_EQ(state_of(world, 0), "failed");
    EXPECT_EQ(world.value_of(0, 4096), 6);
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AMemberThatHangsIsMaskedWithinTheLimit) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 8192, 5).ok());
    ASSERT_TRUE(world.drain().ok());
    world.drive(1).faults.hung = true;
    const uint64_t began = world.store.world.now_ns();
    EXPECT_TRUE(world.fill(4096, 4096, 6).ok());
    const uint64_t took = world.store.world.now_ns() - began;
    EXPECT_GE(took, WatchLimits{}.request_ns / 2);
    EXPECT_LE(took, WatchLimits{}.request_ns * 3 / 2);
    EXPECT_EQ(state_of(world, 1), "failed");
    // From then on nothing waits for it.
    const uint64_t then = world.store.world.now_ns();
    EXPECT_TRUE(world.fill(0, 4096, 7).ok());
    EXPECT_TRUE(world.flush().ok());
    EXPECT_EQ(world.value_of(4096, 4096), 6);
    EXPECT_LE(world.store.world.now_ns() - then, 100 * kMillisecond);
    world.drive(1).release();
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AMemberThatGoesOnHangingFailsOnce) {
    VolumeWorld world;
    world.drive(1).faults.hung = true;
    ASSERT_TRUE(world.fill(4096, 4096, 6).ok());
    const uint64_t when = world.volume->report().members[1].last_event_s;
    world.store.world.run_for(10 * kSecond);
    EXPECT_EQ(state_of(world, 1), "failed");
    EXPECT_EQ(world.volume->report().members[1].last_event_s, when);
    EXPECT_EQ(witness_of(world).version, 2u);
    world.drive(1).release();
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AReadFromAMemberThatHangsIsAnsweredByAnotherOne) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 64 << 10, 5).ok());
    ASSERT_TRUE(world.drain().ok());
    world.drive(0).faults.hung = true;
    // Whichever member is asked first.
    const uint64_t began = world.store.world.now_ns();
    for (int i = 0; i < 4; ++i) EXPECT_EQ(world.value_of(0, 64 << 10), 5);
    EXPECT_LE(world.store.world.now_ns() - began, WatchLimits{}.request_ns / 4);
    world.store.world.run_for(2 * WatchLimits{}.request_ns);
    EXPECT_EQ(state_of(world, 0), "failed");
    world.drive(0).release();
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AVolumeClosesInTimeThoughAMemberHangs) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 64 << 10, 5).ok());
    world.drive(1).faults.hung = true;
    ASSERT_TRUE(world.fill(0, 4096, 6).ok());
    const uint64_t began = world.store.world.now_ns();
    EXPECT_TRUE(world.close(5 * kSecond).ok());
    EXPECT_LE(world.store.world.now_ns() - began, 6 * kSecond);
}

TEST(Exclusion, WhenAllMembersHangNobodyIsExcluded) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    world.drive(0).faults.hung = true;
    world.drive(1).faults.hung = true;
    world.store.start(write_zeros(*world.volume));
    world.store.world.run_for(10 * kSecond);
    EXPECT_EQ(state_of(world, 0), "in-sync");
    EXPECT_EQ(state_of(world, 1), "in-sync");
    world.drive(0).release();
    world.drive(1).release();
    EXPECT_TRUE(world.store.finish());
    EXPECT_EQ(world.value_of(0, 4096), 0);
    EXPECT_EQ(state_of(world, 0), "in-sync");
}

TEST(Exclusion, TooManyErrorsEvenIfMaskedMakeAMemberFail) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 1 << 20, 5).ok());
    ASSERT_TRUE(world.drain().ok());
    // Clients soon ask the others: a member that repeats its reads is slow.
    for (int round = 0; round < 4; ++round) {
        for (uint64_t block = 0; block < 64; ++block) {
            world.drive(0).faults.unreadable_pages.insert(world.home(0, block) / 4096);
        }
        world.volume->scrub();
        for (uint64_t block = 0; block < 64; ++block) {
            ASSERT_EQ(world.value_of(block * 4096, 4096), 5);
        }
        world.store.world.run_for(2 * kSecond);
    }
    EXPECT_EQ(state_of(world, 0), "failed");
    EXPECT_NE(world.volume->report().members[0].why.find("too many errors"), std::string::npos);
}

TEST(Exclusion, OfThreeMembersTwoMayFailAtOnce) {
    VolumeWorld world({.members = 3});
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    world.drive(0).faults.hung = true;
    world.drive(2).faults.write_error_rate = sim::kCertain;
    EXPECT_TRUE(world.fill(4096, 4096, 6).ok());
    EXPECT_EQ(state_of(world, 0), "failed");
    EXPECT_EQ(state_of(world, 1), "in-sync");
    EXPECT_EQ(state_of(world, 2), "failed");
    EXPECT_EQ(world.value_of(0, 4096), 5);
    world.drive(0).release();
    EXPECT_TRUE(world.close().ok());
}

TEST(Exclusion, AWitnessThatCannotBeWrittenStopsTheVolumeRatherThanForkIt) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    world.store.world.fail_file_writes(true);
    world.drive(1).faults.write_error_rate = sim::kCertain;
    EXPECT_FALSE(world.fill(0, 4096, 6).ok());
    EXPECT_EQ(world.volume->report().state, "stopped");
    world.store.world.fail_file_writes(false);
    static_cast<void>(world.close());
    EXPECT_TRUE(is_in_sync(witness_of(world), 1));
}

}  // namespace
}  // namespace gemel::mirror
