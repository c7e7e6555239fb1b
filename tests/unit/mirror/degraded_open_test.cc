// SPDX-License-Identifier: Apache-2.0
//
// Opening a volume of which not all members are there, or good: what each member becomes, what is
// written where, and interruptions.
#include <gtest/gtest.h>

#include <functional>

#include "mirror/configuration.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::ConfiguredState;
using blockdev::kBlockSize;

// What one member holds, read through it alone; -1: not one value.
int value_on(VolumeWorld& world, MemberPart& part, uint64_t block, uint64_t count) {
    const AlignedBytes data = allocate_aligned(count * kBlockSize);
    if (!world.store.run(part.member->read(block, count, data.get())).ok()) return -2;
    for (size_t i = 0; i < count * kBlockSize; ++i) {
        if (data[i] != data[0]) return -1;
    }
    return std::to_integer<int>(data[0]);
}

std::string states_of(const VolumeParts& parts) {
    std::string states;
    for (const MemberPart& part : parts.members) states += name(part.state)[0];
    return states;
}

std::string configured_in(const blockdev::ConfigurationRecord& configuration) {
    std::string states;
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        states += "ibaos"[configuration.members[i].state];
    }
    return states;
}

// A volume with a log to settle: value 1 home and stable, value 2 in the log.
void prepare(VolumeWorld& world) {
    ASSERT_TRUE(world.fill(0, 16 * kBlockSize, 1).ok());
    ASSERT_TRUE(world.drain().ok());
    ASSERT_TRUE(world.fill(0, 8 * kBlockSize, 2).ok());
    ASSERT_TRUE(world.flush().ok());
    world.kill();
    world.store.world.run_for(kSecond);
}

void expect_content(VolumeWorld& world, VolumeParts& parts) {
    for (MemberPart& part : parts.members) {
        if (part.state != MemberState::in_sync) continue;
        EXPECT_EQ(value_on(world, part, 0, 8), 2) << part.path;
        EXPECT_EQ(value_on(world, part, 8, 8), 1) << part.path;
        EXPECT_EQ(part.member->log_bytes_used(), 0u);
    }
}

// What is told to the world after opening.
void expect_in_force(VolumeWorld& world, const VolumeParts& parts) {
    const auto witness = read_witness(*world.store.env, "/witness", world.description.uuid);
    ASSERT_TRUE(witness.ok() && witness.value().configuration);
    const auto& configuration = parts.configuration;
    EXPECT_EQ(std::memcmp(&*witness.value().configuration, &configuration, sizeof configuration),
              0);
    for (const MemberPart& part : parts.members) {
        if (part.state != MemberState::in_sync) continue;
        EXPECT_EQ(std::memcmp(&part.member->superblock().configuration, &configuration,
                              sizeof configuration),
                  0);
    }
    EXPECT_EQ(parts.history.back().id, configuration.epoch.id);
}

TEST(DegradedOpen, AMissingMemberCostsNothingButItsRedundancy) {
    for (const size_t gone : {0, 1}) {
        VolumeWorld world;
        prepare(world);
        world.description.members[gone].path = "/gone";
        const uint64_t began = world.store.world.now_ns();
        auto parts = world.try_parts();
        ASSERT_TRUE(parts.ok()) << parts.error().text;
        EXPECT_LT(world.store.world.now_ns() - began, kSecond);
        EXPECT_EQ(states_of(parts.value()), gone == 0 ? "mi" : "im");
        EXPECT_EQ(configured_in(parts.value().configuration), gone == 0 ? "bi" : "ib");
        const MemberPart& missing = parts.value().members[gone];
        EXPECT_EQ(missing.member, nullptr);
        EXPECT_EQ(missing.path, "/gone");
        EXPECT_NE(missing.why.find("/gone"), std::string::npos);
        EXPECT_EQ(missing.uuid, world.description.members[gone].uuid);
        expect_content(world, parts.value());
        expect_in_force(world, parts.value());
    }
}

TEST(DegradedOpen, WhoeverComesBackIsBehindAndNotWrittenTo) {
    VolumeWorld world;
    prepare(world);
    world.description.members[1].path = "/gone";
    ASSERT_TRUE(world.try_parts().ok());
    world.description.members[1].path = "/m1";
    const uint64_t size = world.drive(1).platter().size();
    auto before = world.store.platter("/m1", 0, size);
    auto parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "ib");
    EXPECT_NE(parts.value().members[1].member, nullptr);
    EXPECT_NE(parts.value().members[1].why.find("stale"), std::string::npos);
    // But for the owner record.
    auto after = world.store.platter("/m1", 0, size);
    std::memset(before.data() + blockdev::kOwnerOffset, 0, kBlockSize);
    std::memset(after.data() + blockdev::kOwnerOffset, 0, kBlockSize);
    EXPECT_EQ(before, after);
    expect_in_force(world, parts.value());
}

TEST(DegradedOpen, TheOneLeftBehindDoesNotStartAlone) {
    VolumeWorld world;
    prepare(world);
    world.description.members[1].path = "/gone";
    ASSERT_TRUE(world.try_parts().ok());
    world.description.members[1].path = "/m1";
    world.description.members[0].path = "/gone";
    auto parts = world.try_parts();
    ASSERT_FALSE(parts.ok());
    EXPECT_EQ(parts.error().code, Errc::not_found);
    EXPECT_NE(parts.error().text.find("/gone"), std::string::npos) << parts.error().text;
    EXPECT_NE(parts.error().text.find("--force"), std::string::npos) << parts.error().text;
    parts = world.try_parts({.force = true});
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "mi");
    expect_content(world, parts.value());
    expect_in_force(world, parts.value());
    // The one that was given up is known by its own epoch.
    world.description.members[0].path = "/m0";
    parts = Problem{};
    parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "bi");
}

TEST(DegradedOpen, MembersThatCannotBeUsedAreMissing) {
    struct Damage {
        const char* text;
        std::function<void(VolumeWorld&)> make;
    };
    const std::vector<std::byte> zeros(blockdev::kSuperblockSize);
    const uint64_t b_offset =
        blockdev::make_layout(5 << 20, 20 << 20, blockdev::kMinimumLogSize).superblock_b_offset;
    const Damage damages[] = {
        {"both superblocks are damaged",
         [&](VolumeWorld& world) {
             world.drive(1).platter().tamper(512, std::span(zeros).first(512));
             world.drive(1).platter().tamper(b_offset, zeros);
         }},
        {"not a Gemel member",
         [&](VolumeWorld& world) {
             world.drive(1).platter().tamper(0, zeros);
             world.drive(1).platter().tamper(b_offset, zeros);
         }},
        {"no such file", [](VolumeWorld& world) { world.store.world.remove("/m1"); }},
        {"cannot be written",
         [](VolumeWorld& world) { world.drive(1).faults.write_error_rate = sim::kCertain; }},
    };
    for (const Damage& damage : damages) {
        SCOPED_TRACE(damage.text);
        VolumeWorld world;
        prepare(world);
        damage.make(world);
        auto parts = world.try_parts();
        ASSERT_TRUE(parts.ok()) << parts.error().text;
        EXPECT_EQ(states_of(parts.value()), "im");
        const std::string& why = parts.value().members[1].why;
        EXPECT_NE(why.find(damage.text), std::string::npos) << why;
        EXPECT_NE(why.find("/m1"), std::string::npos) << why;
        expect_content(world, parts.value());
        expect_in_force(world, parts.value());
    }
}

TEST(DegradedOpen, AMemberOfAnotherVolumeIsMissing) {
    VolumeWorld world;
    prepare(world);
    CreateOptions create;
    create.name = "other";
    create.size = 5 << 20;
    create.log_size = blockdev::kMinimumLogSize;
    create.witness_path = "/other.witness";
    create.members = {"/x", "/y"};
    ASSERT_TRUE(world.store.run(create_volume(*world.store.env, create)).ok());
    world.description.members[1].path = "/x";
    auto parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "im");
    EXPECT_NE(parts.value().members[1].why.find("/x: belongs to volume"), std::string::npos);
}

TEST(DegradedOpen, TheVolumeFileMayLackMembersAndListOthers) {
    VolumeWorld world;
    prepare(world);
    const VolumeDescription whole = world.description;
    world.description.members.pop_back();
    auto parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "im");
    EXPECT_NE(parts.value().members[1].why.find("is not in the volume file"), std::string::npos);
    EXPECT_EQ(parts.value().members[1].uuid, whole.members[1].uuid);
    parts = Problem{};
    world.description.members.push_back({"/stranger", blockdev::fixed_uuid(9)});
    parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "im");
}

TEST(DegradedOpen, ADamagedWitnessIsMadeAnewFromAProvenStartOnly) {
    VolumeWorld world;
    prepare(world);
    world.store.world.files()["/witness"].resize(10);
    world.description.members[1].path = "/gone";
    auto parts = world.try_parts();
    ASSERT_FALSE(parts.ok());
    EXPECT_NE(parts.error().text.find("the witness is damaged"), std::string::npos);
    EXPECT_NE(parts.error().text.find("/gone"), std::string::npos);
    EXPECT_EQ(world.store.world.files()["/witness"].size(), 10u);
    world.description.members[1].path = "/m1";
    parts = world.try_parts();
    ASSERT_TRUE(parts.ok()) << parts.error().text;
    EXPECT_EQ(states_of(parts.value()), "ii");
    expect_in_force(world, parts.value());
}

TEST(DegradedOpen, AMemberInUseMayMeanThatTheVolumeIsServed) {
    VolumeWorld world;
    world.store.restart();
    for (const bool force : {false, true}) {
        world.description.members[0].path = "/m0";
        world.description.members[1].path = "/gone";
        const auto parts = world.try_parts({.force = force});
        ASSERT_FALSE(parts.ok());
        EXPECT_EQ(parts.error().code, Errc::busy) << parts.error().text;
    }
    static_cast<void>(world.volume.release());
}

// Copies a drive as it is now, to be put back later.
std::vector<std::byte> copy_of(VolumeWorld& world, size_t member) {
    return world.store.platter(VolumeWorld::path(member), 0, world.drive(member).platter().size());
}

TEST(DegradedOpen, AnOldCopyOfAMemberIsBehind) {
    for (const bool clean : {true, false}) {
        VolumeWorld world;
        ASSERT_TRUE(world.fill(0, 16 * kBlockSize, 1).ok());
        ASSERT_TRUE(world.close().ok());
        const auto old = copy_of(world, 1);
        world.open();
        ASSERT_TRUE(world.fill(0, 8 * kBlockSize, 2).ok());
        if (clean) {
            ASSERT_TRUE(world.close().ok());
        } else {
            world.kill();
            world.store.world.run_for(kSecond);
        }
        world.drive(1).platter().tamper(0, old);
        auto parts = world.try_parts();
        ASSERT_TRUE(parts.ok()) << parts.error().text;
        EXPECT_EQ(states_of(parts.value()), "ib");
        expect_content(world, parts.value());
    }
}

// --- A member that fails while the volume is being opened

// From its n-th request on, everything on the second member fails. True if that was after the end.
bool fails_from(uint64_t request) {
    VolumeWorld world({.seed = 7});
    prepare(world);
    uint64_t seen = 0;
    const sim::Drive* failing = &world.drive(1);
    world.store.world.watch([&](const sim::Moment& moment) {
        if (moment.drive != failing || seen++ < request) return;
        world.drive(1).faults.write_error_rate = sim::kCertain;
        world.drive(1).faults.read_error_rate = sim::kCertain;
        world.drive(1).faults.sync_error_rate = sim::kCertain;
    });
    auto parts = world.try_parts();
    world.store.world.watch(nullptr);
    world.drive(1).faults = {};
    EXPECT_TRUE(parts.ok()) << parts.error().text;
    if (!parts.ok()) return true;
    const std::string states = states_of(parts.value());
    EXPECT_TRUE(states == "ii" || states == "ib" || states == "im") << states;
    expect_content(world, parts.value());
    expect_in_force(world, parts.value());
    // And the survivor alone is enough from now on.
    parts = Problem{};
    world.description.members[1].path = "/gone";
    parts = world.try_parts();
    EXPECT_TRUE(parts.ok()) << parts.error().text;
    if (parts.ok()) expect_content(world, parts.value());
    return states == "ii";
}

TEST(DegradedOpen, AMemberMayFailAtAnyMoment) {
    uint64_t request = 0;
    while (!fails_from(request)) {
        ASSERT_FALSE(::testing::Test::HasFailure()) << "request " << request;
        ++request;
    }
    ASSERT_FALSE(::testing::Test::HasFailure());
    EXPECT_GT(request, 10u);
}

// --- Interruptions

// An opening without member `gone`, cut at the given moment; then one with only that. True if the
// first one came to its end.
bool interrupted_at(size_t gone, uint64_t crash_moment, bool power) {
    VolumeWorld world({.seed = 5});
    prepare(world);
    const VolumeDescription whole = world.description;
    world.description.members[gone].path = "/gone";
    uint64_t moments = 0;
    world.store.world.watch([&world, &moments, crash_moment](const sim::Moment&) {
        if (moments++ == crash_moment) world.store.world.kill(*world.store.env);
    });
    OpenOptions options;
    options.cache_bytes = 1 << 20;
    auto first = world.store.try_run(open_parts(*world.store.env, world.description, options));
    world.store.world.watch(nullptr);
    if (world.store.env->alive()) {
        EXPECT_TRUE(first->ok()) << first->error().text;
        // Whoever is alone now stays so.
        world.description = whole;
        world.description.members[1 - gone].path = "/gone";
        *first = Problem{};
        EXPECT_FALSE(world.try_parts().ok());
        return true;
    }
    // Killed at the very last moment it still gives parts, which are the dead process's.
    if (first.has_value() && first->ok()) new VolumeParts(std::move(*first).value());
    if (power) world.store.world.lose_power(0, {&world.drive(0), &world.drive(1)});
    world.store.restart();
    const auto after_crash = read_witness(*world.store.env, "/witness", whole.uuid);
    EXPECT_TRUE(after_crash.ok());
    const bool in_force = after_crash.value().configuration->epoch.number > 2;
    // Unless the first one had come into force, the other member may start by itself.
    world.description = whole;
    world.description.members[1 - gone].path = "/gone";
    auto parts = world.try_parts();
    EXPECT_NE(parts.ok(), in_force) << (parts.ok() ? "" : parts.error().text);
    if (parts.ok()) expect_content(world, parts.value());
    parts = Problem{};
    // With both there: one history, and the other one waits for its resync.
    world.description = whole;
    parts = world.try_parts();
    EXPECT_TRUE(parts.ok()) << parts.error().text;
    if (!parts.ok()) return true;
    expect_content(world, parts.value());
    expect_in_force(world, parts.value());
    const std::string states = states_of(parts.value());
    EXPECT_EQ(states[in_force ? 1 - gone : gone], 'i') << states;
    EXPECT_EQ(states[in_force ? gone : 1 - gone], 'b') << states;
    return false;
}

TEST(DegradedOpen, InterruptedAnywhereTheOtherMemberCanStart) {
    for (const size_t gone : {0, 1}) {
        for (const bool power : {false, true}) {
            uint64_t moment = 0;
            while (!interrupted_at(gone, moment, power)) {
                ASSERT_FALSE(::testing::Test::HasFailure())
                    << "gone " << gone << " moment " << moment << " power " << power;
                ++moment;
            }
            ASSERT_FALSE(::testing::Test::HasFailure());
            EXPECT_GT(moment, 20u);
        }
    }
}

}  // namespace
}  // namespace gemel::mirror
