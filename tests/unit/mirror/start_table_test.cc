// SPDX-License-Identifier: Apache-2.0
//
// Who may start a volume: every combination of what can be found of two or three members with what
// the witness can say, against a model that knows what happened.
#include <gtest/gtest.h>

#include "tests/unit/mirror/start_world.h"

namespace gemel::mirror {
namespace {

using blockdev::ResyncState;

// The volume is in epoch 3, version 2, up to write 54; all members were in sync but those that are
// half copied.
enum Kind : char {
    up_to_date = 'p',
    missing = 'm',
    stale = 's',        // Saw epoch 2 up to write 39.
    ahead = 'a',        // Has an epoch 4 that was never in force: without writes.
    rolled_back = 'r',  // As of epoch 3, version 1, write 50.
    half_copied = 'h',
};
constexpr Kind kKinds[] = {up_to_date, missing, stale, ahead, rolled_back, half_copied};

enum class Witness { equal, older, newer, lost, other_branch };
constexpr Witness kWitnesses[] = {Witness::equal, Witness::older, Witness::newer, Witness::lost,
                                  Witness::other_branch};

Past past_of(Kind kind) {
    switch (kind) {
        case stale: return {{1, 10}, 39};
        case ahead: return {{1, 10, 40, 55}, 54};
        case rolled_back: return {{1, 10, 40}, 50};
        default: return {{1, 10, 40}, 54};
    }
}

// Whether a start from members that are like `newest` can take one that is like `other` along.
bool goes_with(Kind newest, Kind other) {
    switch (newest) {
        case ahead: return other == ahead || other == up_to_date;
        case up_to_date: return other == up_to_date || other == rolled_back;
        default: return other == newest;
    }
}

// The state of each member, or a refusal. Order of `trusted` is from new to old.
std::string model(const std::string& kinds, Witness witness) {
    std::string trusted;
    if (witness == Witness::equal) trusted = "ap";
    if (witness == Witness::older || witness == Witness::lost) trusted = "aprs";
    const size_t best = trusted.find_first_of(kinds);
    if (best == std::string::npos) return "refused";
    const Kind newest = static_cast<Kind>(trusted[best]);
    std::string states;
    for (const char c : kinds) {
        const Kind kind = static_cast<Kind>(c);
        const bool along = trusted.find(c) != std::string::npos && goes_with(newest, kind);
        if (witness == Witness::lost && kind != half_copied && !along) return "refused";
        char state = along ? 'i' : 'b';
        if (along && newest == ahead && kind == up_to_date) state = 'l';
        if (kind == missing) state = 'm';
        states += state;
    }
    return states;
}

void set_up(StartWorld& world, const std::string& kinds, Witness witness) {
    std::vector<bool> in_sync;
    for (const char c : kinds) in_sync.push_back(c != half_copied);
    for (size_t i = 0; i < kinds.size(); ++i) {
        const Kind kind = static_cast<Kind>(kinds[i]);
        if (kind == missing) {
            world.absent(i);
            continue;
        }
        blockdev::Superblock& superblock = world.member(i, past_of(kind));
        superblock.configuration = world.configuration(past_of(kind), in_sync);
        superblock.configuration.version = kind == up_to_date || kind == half_copied ? 2 : 1;
        if (kind != half_copied) continue;
        superblock.resync.state = static_cast<uint32_t>(ResyncState::running);
        superblock.resync.base_epoch = superblock.epochs[1].id;
        superblock.resync.base_sequence = 20;
    }
    switch (witness) {
        case Witness::equal:
            world.witness = world.configuration(past_of(up_to_date), in_sync);
            world.witness->version = 2;
            break;
        case Witness::older: world.witness = world.configuration(past_of(stale), in_sync); break;
        case Witness::newer:
            world.witness = world.configuration({{1, 10, 40, 55, 60}, 60}, in_sync);
            break;
        case Witness::lost: break;
        case Witness::other_branch:
            world.witness = world.configuration({{1, 10, 40}, 54, 1, 2}, in_sync);
            break;
    }
}

void check(const std::string& kinds) {
    if (kinds.find_first_not_of("h") == std::string::npos) return;  // No volume is like that.
    for (const Witness witness : kWitnesses) {
        SCOPED_TRACE(kinds + " witness " + std::to_string(static_cast<int>(witness)));
        StartWorld world(kinds.size());
        set_up(world, kinds, witness);
        const std::string expected = model(kinds, witness);
        EXPECT_EQ(world.outcome(), expected) << (world.decide().ok() ? "" : "refused");
        // By force whatever is there starts, unless it is half copied; with proof it is no force.
        const std::string forced = world.outcome(true);
        if (expected != "refused") {
            EXPECT_EQ(forced, expected);
        } else if (kinds.find_first_of("psar") != std::string::npos) {
            ASSERT_TRUE(world.decide(true).ok());
            EXPECT_TRUE(world.decide(true).value().forced);
            EXPECT_NE(forced.find('i'), std::string::npos);
        } else {
            EXPECT_EQ(forced, "refused");
        }
    }
}

TEST(StartTable, EveryPairOfMembersWithEveryWitness) {
    for (const Kind a : kKinds) {
        for (const Kind b : kKinds) check({a, b});
    }
}

TEST(StartTable, EveryThreeMembersWithEveryWitness) {
    for (const Kind a : kKinds) {
        for (const Kind b : kKinds) {
            for (const Kind c : kKinds) check({a, b, c});
        }
    }
}

}  // namespace
}  // namespace gemel::mirror
