// SPDX-License-Identifier: Apache-2.0
//
// The log of one member settled by itself: what its chain holds comes home, a hole is no damage.
#include <gtest/gtest.h>

#include "mirror/settlement.h"
#include "tests/unit/mirror/settlement_world.h"

namespace gemel::mirror {
namespace {

void expect_refused(const Outcome<Settled>& settled, Errc code, const std::string& text) {
    ASSERT_FALSE(settled.ok());
    EXPECT_EQ(settled.error().code, code) << settled.error().text;
    EXPECT_NE(settled.error().text.find(text), std::string::npos) << settled.error().text;
}

TEST(SettleAlone, BringsHomeWhatItsChainHoldsAndIgnoresWhatLiesBehindAHole) {
    for (const size_t hole : {0, 2, 4, 5}) {
        Crashed crashed(1);
        for (size_t i = 0; i < 5; ++i) {
            crashed.chain.place.stable_point = i;  // With others that would be damage.
            crashed.add_write(i * 3, 5);
            if (i != hole) crashed.put(0, i);
        }
        crashed.open();
        EXPECT_EQ(crashed.world.run(log_end(*crashed.members[0])), hole);
        crashed.open();
        const auto settled = crashed.world.run(settle_alone(*crashed.members[0]));
        ASSERT_TRUE(settled.ok()) << settled.error().text;
        EXPECT_EQ(settled.value().last_sequence, hole);
        EXPECT_EQ(settled.value().batches_kept, hole);
        if (hole > 0) { EXPECT_EQ(settled.value().chain_hash, crashed.batches[hole - 1]->hash()); }
        crashed.expect_settled(hole);
    }
}

TEST(SettleAlone, AnUnreadablePlaceInTheLogEndsTheChain) {
    Crashed crashed(1);
    for (size_t i = 0; i < 3; ++i) {
        crashed.add_write(i * 512, 256);
        crashed.put(0, i);
    }
    // More than a read ahead behind the first one.
    const uint64_t place = blockdev::kLogOffset + crashed.offsets[1] + kBlockSize;
    crashed.world.drive("/m0").faults.unreadable_pages = {place / kBlockSize};
    crashed.open();
    const uint64_t end = crashed.world.run(log_end(*crashed.members[0]));
    EXPECT_LT(end, 2u);
    const auto settled = crashed.world.run(settle_alone(*crashed.members[0]));
    ASSERT_TRUE(settled.ok()) << settled.error().text;
    EXPECT_EQ(settled.value().last_sequence, end);
}

TEST(SettleAlone, TheEndOfALogIsFoundWithoutTouchingIt) {
    Crashed crashed(1);
    for (size_t i = 0; i < 3; ++i) crashed.put(0, crashed.add_write(i, 4));
    crashed.open();
    size_t changes = 0;
    crashed.world.world.watch([&changes](const sim::Moment& moment) {
        if (moment.io != IoKind::read) ++changes;
    });
    EXPECT_EQ(crashed.world.run(log_end(*crashed.members[0])), 3u);
    EXPECT_EQ(changes, 0u);
}

// A flush that failed in another process may have left a log that can be read and is gone when the
// power fails, whatever is flushed later: only what is written again becomes durable.
TEST(SettleAlone, HomeIsNotTouchedBeforeTheLogIsDurable) {
    Crashed crashed(1);
    for (size_t i = 0; i < 3; ++i) crashed.put(0, crashed.add_write(i * 8, 4));
    crashed.open();
    std::string order;  // 'l' the log written, 's' flushed, 'h' home changed.
    crashed.world.world.watch([&](const sim::Moment& moment) {
        if (moment.kind != sim::MomentKind::completing || moment.io == IoKind::read) return;
        const bool in_log = moment.offset >= blockdev::kLogOffset &&
                            moment.offset < blockdev::kLogOffset + crashed.layout.log_size;
        if (moment.io == IoKind::sync) {
            order += 's';
        } else if (in_log) {
            order += 'l';
        } else if (moment.offset >= crashed.layout.home_offset) {
            order += 'h';
        }
    });
    ASSERT_TRUE(crashed.world.run(settle_alone(*crashed.members[0])).ok());
    EXPECT_EQ(order.substr(0, 5), "lllsh");
    EXPECT_EQ(order.find('l', 4), std::string::npos);
}

TEST(SettleAlone, ADeviceThatFailsIsTheMembersError) {
    Crashed crashed(1);
    crashed.put(0, crashed.add_write(0, 4));
    crashed.open();
    crashed.world.drive("/m0").faults.sync_error_rate = sim::kCertain;
    expect_refused(crashed.world.run(settle_alone(*crashed.members[0])), Errc::io,
                   "/m0: settlement: flushing the log");
}

}  // namespace
}  // namespace gemel::mirror
