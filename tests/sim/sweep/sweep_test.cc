// SPDX-License-Identifier: Apache-2.0
//
// Damages every place of one member after the other, in every state that a volume can be found in,
// and opens it each time: it must open with all its members, all data must be right, from whichever
// member it comes, a scrub must heal everything, a second one must find nothing, and the members
// must be sound to the byte afterwards.
#include <gtest/gtest.h>

#include <string_view>

#include "blockdev/superblock.h"
#include "tests/sim/member_audit.h"
#include "tests/sim/sweep/sweep_check.h"
#include "tests/sim/sweep/sweep_damage.h"

namespace gemel::sim {
namespace {

constexpr size_t kFailuresMax = 12;  // That are told, before a sweep gives up.

struct Sweep {
    const char* name;
    SweepSetting setting;
    SweepShare share;
};

bool must_be_told(SweepState& state, const SweepDamage& damage) {
    const bool closed = state.setting().ending == Ending::closed;
    // An owner, or a superblock, of before is what a crash may leave as well.
    const bool superblock = std::string_view(damage.place).starts_with("superblock");
    const bool like_a_crash = damage.offset == blockdev::kOwnerOffset || (superblock && !closed);
    if (damage.kind == SweepKind::stale && like_a_crash) return false;
    if (!closed) return state.counts(damage.member, damage.offset);
    return !audit_member(state.world().drive(damage.member), true).empty();
}

size_t whole_superblocks(SweepState& state, size_t member) {
    size_t whole = 0;
    for (const uint64_t offset : {uint64_t{0}, state.layout().superblock_b_offset}) {
        const auto superblock = blockdev::make_superblock_buffer();
        state.platter(member).read(offset, writable_bytes_of(*superblock));
        whole += blockdev::superblock_fault(*superblock, offset) == nullptr ? 1 : 0;
    }
    return whole;
}

// A crash in the middle of writing one superblock leaves the other one: damage to that as well is
// more than a member survives. It is refused by name then, and made anew.
bool takes_the_last_superblock(SweepState& state, size_t member, size_t whole_before) {
    return whole_before == 1 && whole_superblocks(state, member) == 0;
}

void run(const Sweep& sweep, SweepShare share) {
    SweepState state(sweep.setting);
    SweepCheck check(state);
    std::vector<SweepDamage> damages = sector_damages(state, share);
    const std::vector<SweepDamage> more = block_damages(state, share);
    damages.insert(damages.end(), more.begin(), more.end());
    const std::vector<SweepDamage> ranges = range_damages(state);
    damages.insert(damages.end(), ranges.begin(), ranges.end());
    Random random(5);
    size_t failures = 0;
    uint64_t done = 0;
    for (const SweepDamage& damage : damages) {
        state.restore();
        const size_t whole = whole_superblocks(state, damage.member);
        if (!do_damage(state, damage, random)) continue;
        if (takes_the_last_superblock(state, damage.member, whole)) continue;
        const bool matters = must_be_told(state, damage);
        check.begin();
        const std::string fault = check.offline();
        ++done;
        if (!fault.empty()) {
            ADD_FAILURE() << damage.text() << ": " << fault;
        } else if (matters && !check.was_told()) {
            ADD_FAILURE() << damage.text() << ": healed without a word";
        } else {
            continue;
        }
        if (++failures == kFailuresMax) break;
        ASSERT_EQ(state.world().store.world.first_violation(), "");
    }
    std::printf("%s: %lu damages of %zu\n", sweep.name, done, damages.size());
}

constexpr SweepShare kAll{};
// Tables and records whole, of log and home a sample: where other sweeps have all of these.
constexpr SweepShare kTables{.step = 1, .step_of_log_and_home = 17};

constexpr CheckpointCut kAtHome{Region::home, MomentKind::completing, 2};
constexpr CheckpointCut kAtChecksums{Region::checksums, MomentKind::completing, 1};
constexpr CheckpointCut kAtIndex{Region::index, MomentKind::completing, 1};
constexpr CheckpointCut kAtRoots{Region::index, MomentKind::completing, 2};
// One of them comes first.
constexpr CheckpointCut kAtSuperblockA{Region::superblock_a, MomentKind::completing, 1};
constexpr CheckpointCut kAtSuperblockB{Region::superblock_b, MomentKind::completing, 1};

constexpr SweepSetting killed_at(size_t members, CheckpointCut cut) {
    return {Ending::killed_in_a_checkpoint, members, kOnePage, cut};
}
constexpr SweepSetting power_lost_at(CheckpointCut cut) {
    return {Ending::power_lost_in_a_checkpoint, 2, kOnePage, cut};
}
constexpr SweepSetting kFullLogOfTwo{Ending::killed_with_a_full_log, 2, kOnePage, {}};

// The fourth part of a sweep.
constexpr SweepShare quarter(uint64_t which) { return {4, 4, which}; }

constexpr Sweep kSweeps[] = {
    {"ClosedOfTwo", {Ending::closed, 2, kOnePage, {}}, kAll},
    {"ClosedOfThree", {Ending::closed, 3, kOnePage, {}}, kAll},
    {"ClosedOfTwoWithTwoPages", {Ending::closed, 2, kTwoPages, {}}, kTables},
    {"ClosedOfThreeWithTwoPages", {Ending::closed, 3, kTwoPages, {}}, kTables},
    {"FullLogOfTwoA", kFullLogOfTwo, quarter(0)},
    {"FullLogOfTwoB", kFullLogOfTwo, quarter(1)},
    {"FullLogOfTwoC", kFullLogOfTwo, quarter(2)},
    {"FullLogOfTwoD", kFullLogOfTwo, quarter(3)},
    {"FullLogOfThree", {Ending::killed_with_a_full_log, 3, kOnePage, {}}, kTables},
    {"KilledAtIndexOfTwo", killed_at(2, kAtIndex), kAll},
    {"KilledAtIndexOfThree", killed_at(3, kAtIndex), kTables},
    {"KilledAtHome", killed_at(2, kAtHome), kTables},
    {"KilledAtChecksums", killed_at(2, kAtChecksums), kTables},
    {"KilledAtRoots", killed_at(2, kAtRoots), kTables},
    {"KilledAtSuperblockA", killed_at(2, kAtSuperblockA), kTables},
    {"KilledAtSuperblockB", killed_at(2, kAtSuperblockB), kTables},
    {"PowerLostAtHome", power_lost_at(kAtHome), kTables},
    {"PowerLostAtIndex", power_lost_at(kAtIndex), kTables},
    {"PowerLostAtSuperblockA", power_lost_at(kAtSuperblockA), kTables},
};

class SweepTest : public ::testing::TestWithParam<Sweep> {};

TEST_P(SweepTest, DamageToOnePlaceIsMaskedAndHealed) { run(GetParam(), GetParam().share); }

INSTANTIATE_TEST_SUITE_P(All, SweepTest, ::testing::ValuesIn(kSweeps),
                         [](const auto& sweep) { return std::string(sweep.param.name); });

// For every commit: some places of each state.
TEST(SweepSampleTest, DamageToSomePlacesIsMaskedAndHealed) {
    uint64_t first = 0;
    for (const Sweep& sweep : kSweeps) run(sweep, {61, 509, ++first});
}

}  // namespace
}  // namespace gemel::sim
