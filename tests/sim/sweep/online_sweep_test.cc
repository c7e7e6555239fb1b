// SPDX-License-Identifier: Apache-2.0
//
// The same while the volume serves: each sector is damaged, read, and healed by a scrub.
#include <gtest/gtest.h>

#include "tests/sim/member_audit.h"
#include "tests/sim/sweep/sweep_check.h"
#include "tests/sim/sweep/sweep_damage.h"

namespace gemel::sim {
namespace {

constexpr size_t kFailuresMax = 12;
constexpr uint64_t kMoveEvery = 50;  // Damages. Then tables move to their other slots.

void sweep(size_t members, uint64_t size, SweepShare share) {
    SweepState state({.ending = Ending::closed, .members = members, .size = size});
    mirror::VolumeWorld& world = state.world();
    std::vector<SweepDamage> damages = sector_damages(state, share);
    const std::vector<SweepDamage> more = block_damages(state, share);
    damages.insert(damages.end(), more.begin(), more.end());
    const std::vector<SweepDamage> ranges = range_damages(state);
    damages.insert(damages.end(), ranges.begin(), ranges.end());
    SweepCheck check(state);
    Random random(6);
    world.open();
    size_t failures = 0;
    uint64_t done = 0;
    for (const SweepDamage& damage : damages) {
        const std::string where = damage.text();
        if (++done % kMoveEvery == 0) {
            state.write_some(3, 8 << 10);
            ASSERT_TRUE(world.drain().ok());
        }
        check.begin();
        if (!do_damage(state, damage, random)) continue;
        const bool matters = !audit_member(world.drive(damage.member), false).empty();
        const std::string fault = check.online();
        if (!fault.empty()) {
            ADD_FAILURE() << where << ": " << fault;
        } else if (matters && !check.was_told()) {
            ADD_FAILURE() << where << ": healed without a word";
        } else {
            continue;
        }
        if (++failures == kFailuresMax) break;
        ASSERT_EQ(world.store.world.first_violation(), "");
    }
    EXPECT_TRUE(world.close().ok());
    EXPECT_EQ(check.audit(true), "");
}

TEST(OnlineSweepTest, DamageToAMemberOfTwo) { sweep(2, kOnePage, {}); }
TEST(OnlineSweepTest, DamageToAMemberOfThree) { sweep(3, kOnePage, {}); }
TEST(OnlineSweepTest, DamageToTheTablesOfTwoPages) { sweep(2, kTwoPages, {1, 11, 0}); }

// Batches stay in the log for about a second after the last write: each sector of it that comes up
// is damaged, and must be there again after a scrub, as long as its batch has not gone home.
TEST(OnlineSweepTest, DamageToTheLog) {
    SweepState state({.ending = Ending::closed, .members = 2, .size = kOnePage});
    mirror::VolumeWorld& world = state.world();
    world.open();
    Random random(8);
    uint64_t healed = 0;
    uint64_t gone_home = 0;
    for (uint64_t i = 0; i < 3000; ++i) {
        state.write_some(1, 16 << 10);
        SweepDamage damage{.place = "log", .kind = static_cast<SweepKind>(i % 3), .member = i % 2};
        const std::vector<uint64_t> live = state.find_log_blocks(damage.member);
        if (live.empty()) continue;
        damage.offset = live[i % live.size()] + i % kSectorsPerPage * kSectorSize;
        std::vector<std::byte> before(kSectorSize);
        std::vector<std::byte> after(kSectorSize);
        state.platter(damage.member).read(damage.offset, before);
        if (!do_damage(state, damage, random)) continue;
        const uint64_t told = world.volume->report().members[damage.member].log_blocks_healed;
        world.volume->scrub();
        world.store.world.run_for(200 * kMillisecond);
        state.platter(damage.member).read(damage.offset, after);
        const uint64_t now_told = world.volume->report().members[damage.member].log_blocks_healed;
        if (before == after) {
            ++healed;
            EXPECT_GT(now_told, told) << damage.text();
        } else {
            const std::vector<uint64_t> left = state.find_log_blocks(damage.member);
            const uint64_t block = round_down(damage.offset, kPageSize);
            EXPECT_EQ(std::count(left.begin(), left.end(), block), 0) << damage.text();
            ++gone_home;
        }
    }
    EXPECT_GT(healed, 2000u);
    std::printf("healed %lu, gone home %lu\n", healed, gone_home);
    EXPECT_TRUE(world.close().ok());
    SweepCheck check(state);
    EXPECT_EQ(check.audit(true), "");
}

}  // namespace
}  // namespace gemel::sim
