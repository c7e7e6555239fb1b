// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/status_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/tools/example_status.h"

namespace gemel::tools {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(StatusViewDiffer, NotByWhatPassesByItself) {
    const VolumeStatus before = example_status();
    VolumeStatus after = before;
    after.server->uptime_s += 10;
    after.report.members[0].free_bytes += 4096;
    EXPECT_FALSE(differ(before, after));
}

TEST(StatusViewDiffer, ByWhatHappens) {
    const VolumeStatus before = example_status();
    VolumeStatus after = before;
    after.report.members[1].state = "failed";
    EXPECT_TRUE(differ(before, after));
    after = before;
    ++after.report.writes;
    EXPECT_TRUE(differ(before, after));
    after = before;
    after.report.members[0].why = "something else";
    EXPECT_TRUE(differ(before, after));
}

TEST(StatusViewScreen, DrawsTheTableFromTheTop) {
    const std::string drawn = screen(example_status(), SIZE_MAX);
    EXPECT_THAT(drawn, StartsWith("\x1b[H"));
    EXPECT_THAT(drawn, HasSubstr("/srv/a.img"));
    EXPECT_THAT(drawn, EndsWith("\r\n\x1b[J\x1b[?7h"));
    // Every line clears what the one before it left behind.
    const auto lines = std::count(drawn.begin(), drawn.end(), '\n');
    const std::string table = status_table(example_status());
    EXPECT_EQ(lines, std::count(table.begin(), table.end(), '\n'));
    size_t clears = 0;
    for (size_t at = 0; (at = drawn.find("\x1b[K\r\n", at)) != std::string::npos; ++at) ++clears;
    EXPECT_EQ(clears, static_cast<size_t>(lines));
}

TEST(StatusViewScreen, LeavesOutWhatIsBelowTheLastRow) {
    const std::string drawn = screen(example_status(), 3);
    EXPECT_EQ(std::count(drawn.begin(), drawn.end(), '\n'), 2) << "else the terminal would scroll";
    EXPECT_THAT(drawn, HasSubstr("stopped"));
    EXPECT_THAT(drawn, Not(HasSubstr("/srv/a.img  failed")));
}

TEST(StatusViewBlock, BeginsWithTheTime) {
    const std::string text = block(example_status(), 1'700'000'000);
    EXPECT_THAT(text, StartsWith("2023-11-14 22:13:20 UTC\nvol  stopped"));
    EXPECT_THAT(text, EndsWith("\n\n"));
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace gemel::tools
