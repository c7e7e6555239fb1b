// SPDX-License-Identifier: Apache-2.0
//
// What the scrub finds, how it yields to clients, and when it runs: all in virtual time.
#include "mirror/scrub.h"

#include <algorithm>

#include "tests/sim/random.h"
#include "tests/unit/mirror/client_load.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;

constexpr uint64_t kPageSize = kPageBlocks * kBlockSize;

TEST(ScrubRest, SpreadsAPassOverHalfTheInterval) {
    EXPECT_EQ(scrub_rest_for_schedule_ns(1'000 * kSecond, 500), kSecond);
    EXPECT_EQ(scrub_rest_for_schedule_ns(0, 500), 0u);
    EXPECT_EQ(scrub_rest_for_schedule_ns(1'000 * kSecond, 1), 60 * kSecond);
}

// A volume whose blocks have been written, and are home.
struct Written : VolumeWorld {
    explicit Written(uint64_t pages, uint64_t interval_s = 0)
        : VolumeWorld({.size = pages * kPageSize, .open = false}) {
        options.scrub.interval_s = interval_s;
        VolumeWorld::open(options);
        for (uint64_t at = 0; at < pages * kPageSize; at += kPiece) {
            EXPECT_TRUE(fill(at, kPiece, static_cast<uint8_t>(at / kPiece % 250 + 1)).ok());
        }
        EXPECT_TRUE(drain().ok());
        store.world.run_for(2 * BackgroundPace::kQuiet_ns);
    }
    static constexpr uint64_t kPiece = 64 << 10;

    ScrubReport scrub() const { return volume->report().scrub; }
    // A pass that somebody asked for; how long it took.
    uint64_t scrub_now() {
        const uint64_t passes = scrub().passes;
        const uint64_t began = store.world.now_ns();
        volume->scrub();
        EXPECT_TRUE(run_until([&] { return scrub().passes != passes; }));
        return store.world.now_ns() - began;
    }
    bool run_until(const std::function<bool()>& condition) {
        return store.world.run_until(condition, store.world.now_ns() + 100 * 86'400 * kSecond);
    }
    // Puts bytes where a block lies on a member.
    void put(size_t member, uint64_t block, std::span<const std::byte> bytes) {
        drive(member).platter().tamper(home(member, block), bytes);
    }
    std::vector<std::byte> bytes(size_t member, uint64_t block, size_t length = kBlockSize) {
        return store.platter(path(member), home(member, block), length);
    }
    OpenOptions options;
};

// --- What it finds

TEST(Scrub, ReportsExactRangesByCause) {
    Written world(3);
    const auto older = world.bytes(0, 700);
    ASSERT_TRUE(world.fill(700 * kBlockSize, kBlockSize, 0xa7).ok());
    ASSERT_TRUE(world.drain().ok());

    for (const uint64_t block : {10u, 11u, 12u, 40u}) world.damage_home(0, block);
    world.put(0, 700, older);                       // The write of 0xa7 was lost,
    world.put(1, 900, world.bytes(1, 300));         // 300's content went to 900,
    world.put(1, 1200, world.bytes(1, 300, 1024));  // and two sectors of it to 1200.
    world.damage_home(1, 300);                      // Both places of a write that went astray.
    world.drive(1).faults.unreadable_pages.insert(world.home(1, 1300) / kBlockSize);
    world.scrub_now();

    const ScrubReport found = world.scrub();
    EXPECT_EQ(found.found, (DamageCounts{5, 1, 1, 1, 1}));
    const std::vector<DamagedRange> expected = {
        {0, DamageCause::bit_rot, {10, 3}},      {0, DamageCause::bit_rot, {40, 1}},
        {0, DamageCause::lost_write, {700, 1}},  {1, DamageCause::bit_rot, {300, 1}},
        {1, DamageCause::misdirected, {900, 1}}, {1, DamageCause::torn, {1200, 1}},
        {1, DamageCause::unreadable, {1300, 1}}};
    EXPECT_EQ(found.damage, expected);
    EXPECT_EQ(found.blocks_checked, 2 * 3 * kPageBlocks);

    world.drive(1).faults.unreadable_pages.clear();
    world.scrub_now();
    EXPECT_EQ(world.scrub().found, DamageCounts{});
    EXPECT_TRUE(world.scrub().damage.empty());
    for (size_t member = 0; member < 2; ++member) {
        EXPECT_EQ(world.bytes(member, 700), std::vector<std::byte>(kBlockSize, std::byte{0xa7}));
    }
}

// No reader sees it, but whoever mounts home as a plain image does.
TEST(Scrub, ClearsWhatLiesWhereZerosShouldBe) {
    Written world(3);
    const auto old = world.store.platter("/m1", world.home(1, 20), kBlockSize);
    ASSERT_TRUE(world.trim(20 * kBlockSize, 2 * kBlockSize).ok());
    ASSERT_TRUE(world.trim(kPageSize, kPageSize).ok());  // A page of zeros only.
    ASSERT_TRUE(world.drain().ok());
    const std::vector<std::byte> garbage(kBlockSize, std::byte{7});
    world.put(1, 20, old);  // As if the disk had lost the punch.
    world.put(1, 21, garbage);
    world.put(0, kPageBlocks + 3, garbage);
    world.scrub_now();
    EXPECT_EQ(world.scrub().blocks_healed, 3u);
    const std::vector<DamagedRange> expected{
        {0, DamageCause::bit_rot, {kPageBlocks + 3, 1}},
        {1, DamageCause::bit_rot, {21, 1}},
        {1, DamageCause::lost_write, {20, 1}},
    };
    EXPECT_EQ(world.scrub().damage, expected);
    for (const auto& [member, block] : {std::pair(1, 20), {1, 21}, {0, kPageBlocks + 3}}) {
        const auto path = VolumeWorld::path(static_cast<size_t>(member));
        const auto now = world.store.platter(path, world.home(0, block), kBlockSize);
        EXPECT_TRUE(all_zero(now)) << "block " << block;
    }
    world.scrub_now();
    EXPECT_EQ(world.scrub().blocks_healed, 0u);
}

TEST(Scrub, LeavesAloneWhatTheLogWillBringHome) {
    Written world(1);
    ASSERT_TRUE(world.trim(0, 4 * kBlockSize).ok());
    world.scrub_now();  // Home still holds what was trimmed.
    EXPECT_EQ(world.scrub().blocks_healed, 0u);
    EXPECT_EQ(world.value_of(0, 4 * kBlockSize), 0);
}

TEST(Scrub, AWriteThatWentAstrayIsKnownAlsoIfTheBlockItHitIsFoundFirst) {
    Written world(3);
    world.put(1, 100, world.bytes(1, 1400));
    world.damage_home(1, 1400);
    world.scrub_now();
    const std::vector<DamagedRange> expected = {{1, DamageCause::bit_rot, {1400, 1}},
                                                {1, DamageCause::misdirected, {100, 1}}};
    EXPECT_EQ(world.scrub().damage, expected);
    EXPECT_EQ(world.volume->report().members[1].damage, (DamageCounts{1, 0, 1, 0, 0}));
}

TEST(Scrub, DamageBesidesClientsIsHealedAndTheirDataStays) {
    Written world(3);
    sim::Random random(3);
    for (uint64_t block = 0; block < 3 * kPageBlocks; block += 7) world.damage_home(0, block);
    const uint64_t passes = world.scrub().passes;
    world.volume->scrub();
    std::map<uint64_t, uint8_t> written;
    while (world.scrub().passes == passes) {
        const uint64_t block = random.below(3 * kPageBlocks);
        written[block] = static_cast<uint8_t>(1 + random.below(250));
        ASSERT_TRUE(world.fill(block * kBlockSize, kBlockSize, written[block]).ok());
    }
    for (const auto& [block, value] : written) {
        EXPECT_EQ(world.value_of(block * kBlockSize, kBlockSize), value) << block;
    }
    world.scrub_now();
    EXPECT_EQ(world.scrub().found, DamageCounts{});
}

// --- How it yields

// The promise: with clients at work their p99 grows by no more than this factor.
constexpr double kFactor = PaceController::kDefaultFactor;

class ScrubBesideClients : public ::testing::TestWithParam<uint32_t> {};

TEST_P(ScrubBesideClients, YieldsAndStillFinishes) {
    constexpr uint64_t kPages = 16;
    Written world(kPages);
    make_narrow(world);
    Load load(world, GetParam());
    const uint64_t until = world.store.world.now_ns() + 10 * kSecond;
    const auto alone = load.run_until([&] { return world.store.world.now_ns() >= until; });
    ASSERT_GT(alone.size(), 10'000u);

    world.volume->scrub();
    const auto beside = load.run_until([&] { return world.scrub().passes == 1; });
    ASSERT_GT(beside.size(), 1'000u);
    EXPECT_EQ(world.scrub().blocks_checked, 2 * kPages * kPageBlocks);
    EXPECT_LE(percentile(beside, 50), percentile(alone, 50) * 3 / 2);
    EXPECT_LE(static_cast<double>(percentile(beside, 99)),
              kFactor * static_cast<double>(percentile(alone, 99)));
    RecordProperty("p99_alone_us", static_cast<int>(percentile(alone, 99) / 1000));
    RecordProperty("p99_beside_us", static_cast<int>(percentile(beside, 99) / 1000));
}

INSTANTIATE_TEST_SUITE_P(WritesPerMillion, ScrubBesideClients, ::testing::Values(0, 300'000));

TEST(Scrub, IsMuchFasterWhileNobodyIsThere) {
    constexpr uint64_t kPages = 16;
    Written world(kPages);
    make_narrow(world);
    Load load(world, 300'000);
    const uint64_t began = world.store.world.now_ns();
    world.volume->scrub();
    static_cast<void>(load.run_until([&] { return world.scrub().passes == 1; }));
    const uint64_t beside_ns = world.store.world.now_ns() - began;
    EXPECT_TRUE(world.drain().ok());
    world.store.world.run_for(2 * BackgroundPace::kQuiet_ns);

    const uint64_t alone_ns = world.scrub_now();
    EXPECT_LT(alone_ns, beside_ns / 5);
    // Close to what the drives could give at most.
    const uint64_t drive_ns = kPages * kPageBlocks * 4'000;
    EXPECT_LT(alone_ns, drive_ns * 5 / 4);
}

// --- When it runs

TEST(Scrub, TheScheduleBeginsAPassAfterTheInterval) {
    Written world(3, 1'000);
    EXPECT_FALSE(world.scrub().running);
    EXPECT_EQ(world.scrub().passes, 0u);
    const uint64_t began = world.store.world.now_ns();
    ASSERT_TRUE(world.run_until([&] { return world.scrub().running; }));
    EXPECT_GE(world.store.world.now_ns() - began, 990 * kSecond);
    EXPECT_LE(world.store.world.now_ns() - began, 1'010 * kSecond);
    const uint64_t started = world.scrub().started_s;
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
    ASSERT_TRUE(world.run_until([&] { return world.scrub().running; }));
    // From beginning to beginning, whatever a pass takes.
    EXPECT_NEAR(static_cast<double>(world.scrub().started_s), static_cast<double>(started) + 1'000,
                2);
}

TEST(Scrub, NeverBeginsWithoutASchedule) {
    Written world(1, 0);
    world.store.world.run_for(365 * 86'400 * kSecond);
    EXPECT_EQ(world.scrub().started_s, 0u);
}

TEST(Scrub, APassOfTheScheduleSpreadsItselfAndSaysHowLongItWillTake) {
    constexpr uint64_t kPages = 10;
    Written world(kPages, 1'000);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().running; }));
    const uint64_t began = world.store.world.now_ns();
    ASSERT_TRUE(world.run_until([&] { return world.scrub().next_page == kPages / 2; }));
    const uint64_t half_ns = world.store.world.now_ns() - began;
    const uint64_t promised_s = world.scrub().remaining_s;
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
    const uint64_t all_ns = world.store.world.now_ns() - began;
    EXPECT_NEAR(static_cast<double>(all_ns) / kSecond, 450, 10);
    EXPECT_NEAR(static_cast<double>(promised_s), static_cast<double>(all_ns - half_ns) / kSecond,
                60);
    EXPECT_EQ(world.scrub().remaining_s, 0u);
}

TEST(Scrub, WhoAsksMakesAPassOfTheScheduleHurry) {
    Written world(10, 1'000);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().next_page == 3; }));
    const uint64_t began = world.store.world.now_ns();
    world.volume->scrub();
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
    EXPECT_LT(world.store.world.now_ns() - began, 5 * kSecond);
    EXPECT_EQ(world.scrub().blocks_checked, 2 * 10 * kPageBlocks);
}

TEST(Scrub, GoesOnWhereItWasAfterAnOrderlyRestart) {
    Written world(10, 1'000);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().next_page == 6; }));
    const uint64_t started = world.scrub().started_s;
    ASSERT_TRUE(world.close().ok());
    world.open(world.options);
    EXPECT_EQ(world.scrub().next_page, 6u);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
    EXPECT_EQ(world.scrub().started_s, started);
    EXPECT_EQ(world.scrub().blocks_checked, 2 * 4 * kPageBlocks);
}

TEST(Scrub, LosesLittleOfItsWayInACrash) {
    Written world(10, 1'000);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().next_page == 6; }));
    world.kill();
    world.open(world.options);
    // Written down at least every 30 seconds; a page and its rest take 50.
    EXPECT_GE(world.scrub().next_page, 5u);
    EXPECT_LE(world.scrub().next_page, 6u);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
}

TEST(Scrub, APassThatACrashCutShortSkipsNothing) {
    Written world(10, 1'000);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().next_page == 6; }));
    world.damage_home(1, 7 * kPageBlocks + 5);
    world.kill();
    world.open(world.options);
    ASSERT_TRUE(world.run_until([&] { return world.scrub().passes == 1; }));
    EXPECT_EQ(world.scrub().found, (DamageCounts{1, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace gemel::mirror
