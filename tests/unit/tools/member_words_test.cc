// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/member_words.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace gemel::tools {
namespace {

using blockdev::ConfiguredState;
using blockdev::ResyncRecord;

TEST(ConfiguredName, IsThatOfTheState) {
    const auto name = [](ConfiguredState state) {
        return configured_name(static_cast<uint32_t>(state));
    };
    EXPECT_EQ(name(ConfiguredState::in_sync), "in-sync");
    EXPECT_EQ(name(ConfiguredState::behind), "behind");
    EXPECT_EQ(name(ConfiguredState::adding), "adding");
    EXPECT_EQ(name(ConfiguredState::offline), "offline");
    EXPECT_EQ(name(ConfiguredState::spare), "spare");
    EXPECT_EQ(configured_name(77), "unknown (77)");
}

TEST(ResyncText, SaysOnlyWhatThereIs) {
    ResyncRecord resync{};
    EXPECT_EQ(resync_text(resync), "has nothing that counts");
    resync.base_sequence = 9;
    EXPECT_EQ(resync_text(resync), "has all up to write 9");
    resync.cursor_page = 3;
    resync.covered_sequence = 12;
    EXPECT_EQ(resync_text(resync), "has all up to write 9; of pages 0 to 2 all up to 12");
    resync.window_begin = 3;
    resync.window_end = 5;
    EXPECT_EQ(resync_text(resync),
              "has all up to write 9; of pages 0 to 2 all up to 12; pages 3 to 4 may be half "
              "copied");
}

TEST(ResyncOf, IsNothingWhileNoneIsUnderWay) {
    blockdev::Superblock superblock{};
    EXPECT_FALSE(resync_of(superblock).has_value());
    superblock.resync.state = static_cast<uint32_t>(blockdev::ResyncState::running);
    superblock.resync.cursor_page = 7;
    ASSERT_TRUE(resync_of(superblock).has_value());
    EXPECT_EQ(resync_of(superblock)->cursor_page, 7u);
}

TEST(ResyncJson, IsReadBackWhole) {
    EXPECT_TRUE(resync_json(std::nullopt).is_null());
    EXPECT_FALSE(parse_resync(nullptr).has_value());
    ResyncRecord resync{};
    resync.state = static_cast<uint32_t>(blockdev::ResyncState::running);
    resync.base_epoch.bytes[3] = 1;
    resync.base_sequence = 2;
    resync.covered_sequence = UINT64_MAX;
    resync.cursor_page = 4;
    resync.window_begin = 5;
    resync.window_end = 6;
    const auto again = parse_resync(resync_json(resync));
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(std::memcmp(&*again, &resync, sizeof resync), 0);
}

}  // namespace
}  // namespace gemel::tools
