// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/control_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/tools/example_status.h"

namespace gemel::tools {
namespace {

using testing::HasSubstr;

std::string without_newline(std::string line) {
    EXPECT_TRUE(line.ends_with('\n'));
    line.pop_back();
    EXPECT_EQ(line.find('\n'), std::string::npos);
    return line;
}

TEST(ControlProtocol, CarriesAStatus) {
    const std::string request =
        without_newline(render_control_request({ControlCommand::status, ""}));
    EXPECT_EQ(request, R"({"command":"status"})");
    EXPECT_TRUE(parse_control_request(request).ok());
    const std::string answer = without_newline(render_status_answer(example_status()));
    const Outcome<VolumeStatus> status = parse_status_answer(answer);
    ASSERT_TRUE(status.ok()) << status.error().text;
    EXPECT_EQ(volume_status_json(status.value()), volume_status_json(example_status()));
}

TEST(ControlProtocol, CarriesAnError) {
    const std::string answer = without_newline(render_error_answer("no\n\xff"));
    EXPECT_THAT(parse_status_answer(answer).error().text, HasSubstr("no\n"));
}

TEST(ControlProtocol, RefusesWhatIsNoRequest) {
    for (const char* line :
         {"", " ", "status", "{}", "[]", "null", "{\"command\":1}", "{\"command\"",
          "{\"command\":\"stop\"}", "\xff\xfe", "{\"command\":\"status\"}x"}) {
        EXPECT_FALSE(parse_control_request(line).ok()) << line;
    }
    EXPECT_FALSE(parse_control_request(std::string(kControlRequestSizeMax, '[')).ok());
    EXPECT_FALSE(parse_control_request(std::string(kControlRequestSizeMax, '\0')).ok());
}

TEST(ControlProtocol, RefusesWhatIsNoAnswer) {
    for (const char* line : {"", "[]", "{}", "{\"schema\":2,\"status\":{}}", "{\"schema\":1}",
                             "{\"schema\":1,\"status\":[]}", "{\"schema\":1,\"status\":{}}"}) {
        EXPECT_FALSE(parse_status_answer(line).ok()) << line;
    }
}

TEST(ControlProtocol, SurvivesDamagedLines) {
    std::mt19937_64 random(7);
    const std::string request = render_control_request({ControlCommand::status, ""});
    const std::string answer = render_status_answer(example_status());
    for (int round = 0; round < 3000; ++round) {
        std::string line = round % 2 == 0 ? request : answer;
        for (uint64_t change = random() % 4 + 1; change > 0; --change) {
            line[random() % line.size()] = static_cast<char>(random());
        }
        (void)parse_control_request(line);
        (void)parse_status_answer(line);
    }
}

}  // namespace
}  // namespace gemel::tools
