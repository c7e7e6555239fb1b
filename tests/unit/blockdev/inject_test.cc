// SPDX-License-Identifier: Apache-2.0
//
// Every kind of damage in every structure: exactly what is listed has changed.
#include "blockdev/inject.h"

#include <gmock/gmock.h>

#include <set>

#include "blockdev/recording.h"
#include "tests/unit/blockdev/damage_world.h"

namespace gemel::blockdev {
namespace {

using testing::HasSubstr;

constexpr DamageKind kWithoutMemory[] = {DamageKind::flip, DamageKind::zero, DamageKind::garbage,
                                         DamageKind::swap, DamageKind::torn};

class InjectTest : public DamageWorld {};

TEST_F(InjectTest, ChangesExactlyWhatItLists) {
    fill();
    const std::vector<std::byte> before = snapshot();
    for (const Structure structure : kAllStructures) {
        for (const DamageKind kind : kWithoutMemory) {
            for (uint64_t seed = 1; seed <= 3; ++seed) {
                SCOPED_TRACE(std::string(name(structure)) + " " + name(kind));
                const auto injected = inject(options(structure, kind, 2, seed));
                ASSERT_TRUE(injected.ok()) << injected.error().text;
                const Injection& injection = injected.value();
                EXPECT_EQ(injection.member, fixed_configuration(2).members[0].uuid);
                EXPECT_GE(injection.events, 1u);
                EXPECT_EQ(injection.damages.size(), injection.events);
                for (const Damage& damage : injection.damages) {
                    EXPECT_EQ(damage.place.structure, structure);
                    EXPECT_EQ(damage.kind, kind);
                    EXPECT_EQ(damage.partner.has_value(), kind == DamageKind::swap);
                    EXPECT_EQ(damage.bit.has_value(), kind == DamageKind::flip);
                }
                expect_only(before, injection);
                restore(before);
            }
        }
    }
}

TEST_F(InjectTest, TheSameSeedDoesTheSame) {
    fill();
    const std::vector<std::byte> before = snapshot();
    for (const DamageKind kind : kWithoutMemory) {
        std::vector<std::vector<std::byte>> results;
        for (const uint64_t seed : {5, 5, 6}) {
            ASSERT_TRUE(inject(options(std::nullopt, kind, 3, seed)).ok());
            results.push_back(snapshot());
            restore(before);
        }
        EXPECT_TRUE(results[0] == results[1]) << name(kind);
        EXPECT_FALSE(results[0] == results[2]) << name(kind);
    }
}

TEST_F(InjectTest, DamagesAllThereIsAndSaysSo) {
    fill();
    const std::vector<std::byte> before = snapshot();
    const Injection injection = inject(options(Structure::data, DamageKind::garbage, 1000)).value();
    EXPECT_EQ(injection.events, filled_blocks().size());
    std::set<uint64_t> blocks;
    for (const Damage& damage : injection.damages) blocks.insert(damage.place.number);
    const std::vector<uint64_t> expected = filled_blocks();
    EXPECT_EQ(blocks, std::set<uint64_t>(expected.begin(), expected.end()));
    expect_only(before, injection);
}

TEST_F(InjectTest, AnyMeansEveryStructureSometimes) {
    fill();
    const std::vector<std::byte> before = snapshot();
    std::set<Structure> hit;
    for (uint64_t seed = 0; seed < 40; ++seed) {
        const Injection injection =
            inject(options(std::nullopt, DamageKind::flip, 1, seed)).value();
        ASSERT_EQ(injection.damages.size(), 1u);
        hit.insert(injection.damages[0].place.structure);
        restore(before);
    }
    EXPECT_EQ(hit.size(), kStructures);
}

TEST_F(InjectTest, OneSuperblockUnlessAskedForMore) {
    fill();
    const std::vector<std::byte> before = snapshot();
    for (uint64_t seed = 0; seed < 40; ++seed) {
        ASSERT_TRUE(inject(options(std::nullopt, DamageKind::swap, 1, seed)).ok());
        const auto disk = world_.open_disk("/m");
        const auto reading = world_.run(read_superblocks(*disk));
        ASSERT_TRUE(reading.ok());
        EXPECT_EQ(reading.value().fault_a, nullptr);
        EXPECT_EQ(reading.value().fault_b, nullptr);
        restore(before);
    }
    // The copy that is damaged already is no target.
    ASSERT_EQ(inject(options(Structure::superblock, DamageKind::zero)).value().events, 1u);
    ASSERT_EQ(inject(options(Structure::superblock, DamageKind::zero, 2)).value().events, 1u);
    EXPECT_THAT(problem(options(Structure::superblock, DamageKind::zero)), HasSubstr("/m: "));
    restore(before);
    const Injection both = inject(options(Structure::superblock, DamageKind::flip, 5)).value();
    EXPECT_EQ(both.events, 2u);
    EXPECT_NE(both.damages[0].place.number, both.damages[1].place.number);
}

TEST_F(InjectTest, AKindThatChangesNothingTakesAnotherPlace) {
    fill();
    // Home is damaged there already.
    const std::vector<std::byte> zeros(9 * kBlockSize);
    world_.drive("/m").platter().tamper(layout_.home(0), zeros);
    const Injection injection = inject(options(Structure::data, DamageKind::zero, 100)).value();
    EXPECT_EQ(injection.events, filled_blocks().size() - 9);
    InjectOptions same = options(Structure::data, DamageKind::zero);
    same.range = NumberRange{0, 8};
    EXPECT_THAT(problem(same), HasSubstr("would change nothing"));
    same.kind = DamageKind::swap;
    EXPECT_THAT(problem(same), HasSubstr("no two places"));
}

TEST_F(InjectTest, SaysWhyNothingWasDamaged) {
    close();
    EXPECT_THAT(problem(options(Structure::log, DamageKind::flip)),
                HasSubstr("/m: the log is empty"));
    EXPECT_THAT(problem(options(Structure::data, DamageKind::flip)), HasSubstr("nothing in use"));
    InjectOptions ranged = options(Structure::checksum, DamageKind::flip);
    ranged.range = NumberRange{1, 2};
    EXPECT_THAT(problem(ranged), HasSubstr("range"));
    EXPECT_THAT(problem(options(Structure::data, DamageKind::stale)), HasSubstr("remembered"));
    EXPECT_THAT(problem(options(std::nullopt, DamageKind::flip), "/none"), HasSubstr("/none"));
    world_.world.add_drive({.path = "/foreign", .size = 64 * kMiB});
    EXPECT_THAT(problem(options(std::nullopt, DamageKind::flip), "/foreign"),
                HasSubstr("not a Gemel member"));
}

TEST_F(InjectTest, WorksBesideTheOwnerWhoSeesIt) {
    write(0, 10);
    checkpoint();
    const std::vector<std::byte> before = snapshot();
    Appender appender(*member_);
    appender.append(chain_.next_write(0, 4));  // In flight meanwhile.
    const auto injected = inject(options(Structure::data, DamageKind::garbage, 10));
    ASSERT_TRUE(injected.ok()) << injected.error().text;
    EXPECT_EQ(injected.value().events, 10u);
    EXPECT_EQ(world_.world.first_violation(), "");
    const std::vector<std::byte> home = world_.platter("/m", layout_.home(0), 10 * kBlockSize);
    for (size_t i = 0; i < 10; ++i) {
        const size_t at = layout_.home(i);
        EXPECT_NE(std::memcmp(home.data() + i * kBlockSize, before.data() + at, kBlockSize), 0);
    }
    const auto answered = [&appender] { return appender.all_answered(); };
    ASSERT_TRUE(world_.world.run_until(answered, world_.world.now_ns() + StoreWorld::kLong));
}

TEST_F(InjectTest, IsDurable) {
    fill();
    const std::vector<std::byte> before = snapshot();
    const Injection injection = inject(options(std::nullopt, DamageKind::torn, 4)).value();
    world_.world.lose_power(0, {&world_.drive("/m")});
    world_.restart();
    expect_only(before, injection);
}

TEST_F(InjectTest, ReportsADeviceThatFails) {
    fill();
    const std::vector<std::byte> before = snapshot();
    world_.drive("/m").faults.write_error_rate = sim::kCertain;
    EXPECT_THAT(problem(options(std::nullopt, DamageKind::flip)), HasSubstr("0 events"));
    world_.drive("/m").faults.write_error_rate = 0;
    // What cannot be read is left alone.
    restore(before);
    world_.drive("/m").faults.unreadable_pages = {layout_.home(700) / kBlockSize};
    const Injection injection = inject(options(Structure::data, DamageKind::zero, 100)).value();
    EXPECT_EQ(injection.events, filled_blocks().size() - 1);
}

}  // namespace
}  // namespace gemel::blockdev
