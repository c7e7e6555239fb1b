// SPDX-License-Identifier: Apache-2.0
//
// The last write that two histories have in common, in every small case.
#include "mirror/lineage.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {
namespace {

using blockdev::EpochRecord;
using blockdev::fixed_uuid;
using blockdev::ResyncState;

// Epoch `name` (its id and number are its character), which began with write `first`.
EpochRecord epoch(char name, uint64_t first) {
    EpochRecord record{};
    record.number = static_cast<uint64_t>(name - 'a' + 1);
    record.id = fixed_uuid(static_cast<uint8_t>(name));
    record.first_sequence = first;
    return record;
}

struct Case {
    const char* what;
    History first;
    History second;
    char common;  // 0: none.
    uint64_t sequence;
    const char* first_own;  // What each has of its own: "w" writes, "e" epochs.
    const char* second_own;
};

const History kEmpty{};

std::vector<Case> table() {
    const EpochRecord a = epoch('a', 1);
    const EpochRecord b = epoch('b', 11);
    const EpochRecord c = epoch('c', 21);
    const EpochRecord x = epoch('x', 11);  // Another one after a.
    const EpochRecord y = epoch('y', 8);   // And one that began earlier.
    return {
        {"two who know nothing", kEmpty, kEmpty, 0, 0, "--", "--"},
        {"one who knows nothing", {{a, b}, 15}, kEmpty, 0, 0, "we", "--"},
        {"nothing in common", {{a, b}, 15}, {{x}, 12}, 0, 0, "we", "we"},
        {"equal", {{a, b}, 15}, {{a, b}, 15}, 'b', 15, "--", "--"},
        {"equal and new", {{a}, 0}, {{a}, 0}, 'a', 0, "--", "--"},
        {"a longer log", {{a, b}, 17}, {{a, b}, 15}, 'b', 15, "w-", "--"},
        {"away for an epoch", {{a, b, c}, 25}, {{a, b}, 20}, 'b', 20, "we", "--"},
        {"away, with a tail of its own", {{a, b, c}, 25}, {{a, b}, 23}, 'b', 20, "we", "w-"},
        {"away before the end", {{a, b, c}, 25}, {{a, b}, 14}, 'b', 14, "we", "--"},
        {"away from an epoch without writes", {{a, b, c}, 20}, {{a, b}, 20}, 'b', 20, "-e", "--"},
        {"away for all that is remembered", {{b, c}, 25}, {{a}, 10}, 0, 0, "we", "we"},
        {"one remembers less", {{b, c}, 25}, {{a, b}, 18}, 'b', 18, "we", "--"},
        {"a fork with writes on both sides", {{a, b}, 15}, {{a, x}, 12}, 'a', 10, "we", "we"},
        {"a fork, one side without writes", {{a, b}, 15}, {{a, x}, 10}, 'a', 10, "we", "-e"},
        {"a fork at different writes", {{a, b}, 15}, {{a, y}, 9}, 'a', 7, "we", "we"},
        {"a fork without writes, one tail longer", {{a, b}, 10}, {{a, y}, 7}, 'a', 7, "we", "-e"},
        {"a fork twice", {{a, b, c}, 25}, {{a, y, x}, 12}, 'a', 7, "we", "we"},
    };
}

void expect_own(const char* own, bool went_on, bool has_own_epochs) {
    EXPECT_EQ(own[0] == 'w', went_on);
    EXPECT_EQ(own[1] == 'e', has_own_epochs);
}

TEST(Lineage, EveryCaseFromBothSides) {
    for (const Case& expected : table()) {
        SCOPED_TRACE(expected.what);
        const Uuid common = expected.common == 0 ? Uuid{} : fixed_uuid(uint8_t(expected.common));
        Lineage lineage = compare_histories(expected.first, expected.second);
        EXPECT_EQ(lineage.epoch, common);
        EXPECT_EQ(lineage.sequence, expected.sequence);
        expect_own(expected.first_own, lineage.first_went_on, lineage.first_has_own_epochs);
        expect_own(expected.second_own, lineage.second_went_on, lineage.second_has_own_epochs);
        lineage = compare_histories(expected.second, expected.first);
        EXPECT_EQ(lineage.epoch, common);
        EXPECT_EQ(lineage.sequence, expected.sequence);
        expect_own(expected.second_own, lineage.first_went_on, lineage.first_has_own_epochs);
        expect_own(expected.first_own, lineage.second_went_on, lineage.second_has_own_epochs);
    }
}

// A new process takes `past` over at each of its writes.
void branch(const History& past, size_t depth, uint8_t& next_id, std::vector<History>& all) {
    all.push_back(past);
    if (depth == 0) return;
    const uint64_t begin = past.epochs.empty() ? 0 : past.epochs.back().first_sequence - 1;
    for (uint64_t settled = begin; settled <= past.end; ++settled) {
        EpochRecord record{};
        record.id = fixed_uuid(next_id++);
        record.first_sequence = settled + 1;
        for (uint64_t end = settled; end <= settled + 2; ++end) {
            History next = past;
            next.epochs.push_back(record);
            next.end = end;
            branch(next, depth - 1, next_id, all);
        }
    }
}

// All histories of up to three epochs, against the definition: a write is its number and the epoch
// that it was given in.
TEST(Lineage, AgreesWithTheWritesThemselves) {
    std::vector<History> all;
    uint8_t next_id = 1;
    branch({}, 3, next_id, all);
    EXPECT_LT(next_id, 250);
    const auto epoch_of = [](const History& history, uint64_t write) {
        Uuid id;
        for (const EpochRecord& record : history.epochs) {
            if (record.first_sequence <= write) id = record.id;
        }
        return id;
    };
    for (const History& first : all) {
        for (const History& second : all) {
            uint64_t common = 0;
            while (common < first.end && common < second.end &&
                   epoch_of(first, common + 1) == epoch_of(second, common + 1)) {
                ++common;
            }
            const Lineage lineage = compare_histories(first, second);
            EXPECT_EQ(lineage.sequence, common);
            EXPECT_EQ(lineage.first_went_on, first.end > common);
            EXPECT_EQ(lineage.second_went_on, second.end > common);
        }
    }
}

// --- The history of a member

blockdev::Superblock superblock_with(std::vector<EpochRecord> epochs) {
    blockdev::Superblock superblock = *blockdev::make_superblock_buffer();
    superblock.epoch_count = static_cast<uint32_t>(epochs.size());
    std::copy(epochs.begin(), epochs.end(), superblock.epochs);
    superblock.configuration.epoch = epochs.back();
    return superblock;
}

TEST(Lineage, AMemberVouchesForItsEpochsAndItsLog) {
    const auto superblock = superblock_with({epoch('a', 1), epoch('b', 11)});
    const History history = history_of(superblock, 17);
    ASSERT_EQ(history.epochs.size(), 2u);
    EXPECT_EQ(history.epochs[1].id, fixed_uuid('b'));
    EXPECT_EQ(history.end, 17u);
}

TEST(Lineage, DuringAResyncAMemberVouchesForTheBaseOnly) {
    auto superblock = superblock_with({epoch('a', 1), epoch('b', 11), epoch('c', 21)});
    superblock.resync.state = static_cast<uint32_t>(ResyncState::running);
    superblock.resync.base_epoch = fixed_uuid('b');
    superblock.resync.base_sequence = 14;
    const History history = history_of(superblock, 30);
    ASSERT_EQ(history.epochs.size(), 2u);
    EXPECT_EQ(history.end, 14u);
    // Against the volume: exactly the base, and nothing of its own.
    const History volume{{epoch('a', 1), epoch('b', 11), epoch('c', 21)}, 40};
    const Lineage lineage = compare_histories(history, volume);
    EXPECT_EQ(lineage.epoch, fixed_uuid('b'));
    EXPECT_EQ(lineage.sequence, 14u);
    EXPECT_FALSE(lineage.first_went_on);
    EXPECT_FALSE(lineage.first_has_own_epochs);
}

TEST(Lineage, DuringAResyncFromNothingAMemberVouchesForNothing) {
    auto superblock = superblock_with({epoch('a', 1), epoch('b', 11)});
    superblock.resync.state = static_cast<uint32_t>(ResyncState::running);
    for (const auto& [base, sequence] : std::map<char, uint64_t>{{'b', 0}, {'q', 14}}) {
        superblock.resync.base_epoch = fixed_uuid(static_cast<uint8_t>(base));
        superblock.resync.base_sequence = sequence;
        const History history = history_of(superblock, 30);
        EXPECT_TRUE(history.epochs.empty());
        EXPECT_EQ(history.end, 0u);
    }
}

}  // namespace
}  // namespace gemel::mirror
