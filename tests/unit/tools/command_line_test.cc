// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gemel::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Arguments parse(std::vector<const char*> words) {
    words.insert(words.begin(), "gemel");
    return parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string complaint(std::vector<const char*> words) {
    try {
        parse(std::move(words));
    } catch (const UsageError& error) { return error.what(); }
    return "";
}

TEST(CommandLine, Create) {
    const auto arguments = std::get<CreateArguments>(parse(
        {"create", "vol", "--size", "1G", "--member", "a", "--member", "b", "--log-size", "64M",
         "--max-size=2G", "--preallocate", "--witness", "w", "--dir", "/d", "--force"}));
    EXPECT_EQ(arguments.name, "vol");
    EXPECT_EQ(arguments.size, 1ull << 30);
    EXPECT_THAT(arguments.members, ElementsAre("a", "b"));
    EXPECT_EQ(arguments.log_size, 64ull << 20);
    EXPECT_EQ(arguments.log_limit, 64ull << 10);
    EXPECT_EQ(arguments.max_size, 2ull << 30);
    EXPECT_TRUE(arguments.preallocate);
    EXPECT_EQ(arguments.witness, "w");
    EXPECT_EQ(arguments.folder, "/d");
    EXPECT_TRUE(arguments.force);
    EXPECT_FALSE(arguments.json);
}

TEST(CommandLine, ARepeatedOptionLeavesThePositionsAlone) {
    const auto serve = std::get<ServeArguments>(
        parse({"serve", "--nbd", "unix:/x", "--nbd", "127.0.0.1:0", "vol", "--cache", "8M"}));
    EXPECT_EQ(serve.volume, "vol");
    EXPECT_THAT(serve.nbd_addresses, ElementsAre("unix:/x", "127.0.0.1:0"));
    EXPECT_EQ(serve.cache_bytes, 8ull << 20);
    const auto create = std::get<CreateArguments>(
        parse({"create", "--member", "a", "--member", "b", "vol", "--size", "4096"}));
    EXPECT_EQ(create.name, "vol");
    EXPECT_THAT(create.members, ElementsAre("a", "b"));
}

TEST(CommandLine, TheOtherVerbs) {
    const auto attach =
        std::get<AttachArguments>(parse({"attach", "vol", "--as", "fuse", "--timeout", "5s"}));
    EXPECT_EQ(attach.target, "vol");
    EXPECT_EQ(attach.front_end, "fuse");
    EXPECT_EQ(attach.timeout_ns, 5 * kSecond);
    EXPECT_EQ(std::get<DetachArguments>(parse({"detach", "/dev/loop0"})).device, "/dev/loop0");
    EXPECT_EQ(std::get<StatusArguments>(parse({"status"})).volume, std::nullopt);
    EXPECT_EQ(std::get<StatusArguments>(parse({"status", "vol", "--json"})).volume, "vol");
    EXPECT_FALSE(std::get<StatusArguments>(parse({"status", "vol"})).watch);
    EXPECT_TRUE(std::get<StatusArguments>(parse({"status", "vol", "--watch"})).watch);
    EXPECT_EQ(std::get<InspectArguments>(parse({"inspect", "a.img"})).member, "a.img");
    EXPECT_THAT(std::get<AssembleArguments>(parse({"assemble", "a", "b"})).members,
                ElementsAre("a", "b"));
}

TEST(CommandLine, HowMuchOfAMemberIsBorne) {
    const mirror::WatchLimits usual = std::get<ServeArguments>(parse({"serve", "vol"})).limits;
    EXPECT_EQ(usual.request_ns, 1 * kSecond);
    EXPECT_EQ(usual.errors, 20);
    const mirror::WatchLimits limits =
        std::get<ServeArguments>(
            parse({"serve", "vol", "--member-timeout", "2500ms", "--member-errors", "0"}))
            .limits;
    EXPECT_EQ(limits.request_ns, 2500 * kMillisecond);
    EXPECT_EQ(limits.errors, 0);
    for (const char* timeout : {"0", "99ms", "11m", "1h", "-1s", "1x", "", "soon", "1.5s"}) {
        EXPECT_THAT(complaint({"serve", "vol", "--member-timeout", timeout}),
                    HasSubstr("--member-timeout: '"))
            << timeout;
    }
    for (const char* errors : {"-1", "1000001", "1.5", "", "many", "99999999999999999999"}) {
        EXPECT_THAT(complaint({"serve", "vol", "--member-errors", errors}),
                    HasSubstr("--member-errors: '"))
            << errors;
    }
}

TEST(CommandLine, Inject) {
    auto inject = std::get<InjectArguments>(
        parse({"inject", "a.img", "--into", "log", "--kind", "torn", "--count", "5", "--seed", "7",
               "--range", "10-18446744073709551615", "--remember", "r"}));
    EXPECT_EQ(inject.member, "a.img");
    EXPECT_TRUE(inject.damages);
    EXPECT_EQ(inject.options.into, blockdev::Structure::log);
    EXPECT_EQ(inject.options.kind, blockdev::DamageKind::torn);
    EXPECT_EQ(inject.options.count, 5u);
    EXPECT_EQ(inject.seed, 7u);
    ASSERT_TRUE(inject.options.range.has_value());
    EXPECT_EQ(inject.options.range->first, 10u);
    EXPECT_EQ(inject.options.range->last, UINT64_MAX);
    EXPECT_EQ(inject.options.recording, "r");
    inject =
        std::get<InjectArguments>(parse({"inject", "a.img", "--into", "any", "--kind", "flip"}));
    EXPECT_TRUE(inject.damages);
    EXPECT_EQ(inject.options.into, std::nullopt);
    EXPECT_EQ(inject.options.count, 1u);
    EXPECT_EQ(inject.seed, std::nullopt);
    inject = std::get<InjectArguments>(parse({"inject", "a.img", "--remember", "r"}));
    EXPECT_FALSE(inject.damages);
    EXPECT_EQ(inject.options.recording, "r");
}

TEST(CommandLine, WrongUsageOfInject) {
    const auto wrong = [](std::vector<const char*> words) {
        words.insert(words.begin(), {"inject", "a.img"});
        return complaint(std::move(words));
    };
    EXPECT_THAT(wrong({}), HasSubstr("--kind"));
    EXPECT_THAT(wrong({"--into", "data"}), HasSubstr("--kind"));
    EXPECT_THAT(wrong({"--kind", "flip"}), HasSubstr("--into"));
    EXPECT_THAT(wrong({"--into", "home", "--kind", "flip"}), HasSubstr("home"));
    EXPECT_THAT(wrong({"--into", "data", "--kind", "melt"}), HasSubstr("melt"));
    for (const char* count : {"0", "-1", "x", "1.5", ""}) {
        EXPECT_THAT(wrong({"--into", "data", "--kind", "flip", "--count", count}),
                    HasSubstr("--count"))
            << count;
    }
    for (const char* range : {"", "-", "5", "5-", "-5", "6-5", "1-2-3", "1-2x", " 1-2", "a-b"}) {
        EXPECT_THAT(wrong({"--into", "data", "--kind", "flip", "--range", range}),
                    HasSubstr("--range"))
            << range;
    }
    EXPECT_THAT(wrong({"--into", "any", "--kind", "flip", "--range", "1-2"}), HasSubstr("--range"));
    EXPECT_THAT(wrong({"--into", "superblock", "--kind", "flip", "--range", "1-2"}),
                HasSubstr("--range"));
    EXPECT_THAT(wrong({"--into", "data", "--kind", "stale"}), HasSubstr("--remember"));
    EXPECT_THAT(wrong({"--into", "superblock", "--kind", "swap"}), HasSubstr("--count 2"));
    EXPECT_THAT(wrong({"--remember", "r", "--seed", "1"}), HasSubstr("--kind"));
}

TEST(CommandLine, WrongUsageIsOneSentence) {
    EXPECT_THAT(complaint({}), HasSubstr("no command"));
    EXPECT_THAT(complaint({"crate"}), HasSubstr("'crate'"));
    EXPECT_THAT(complaint({"--frobnicate"}), HasSubstr("--help"));
    EXPECT_THAT(complaint({"create"}), HasSubstr("gemel create --help"));
    EXPECT_THAT(complaint({"create", "v", "--member", "a", "--member", "b"}), HasSubstr("--size"));
    EXPECT_THAT(complaint({"create", "v", "--size", "1X", "--member", "a"}),
                testing::AllOf(HasSubstr("--size"), HasSubstr("'1X'")));
    EXPECT_THAT(complaint({"create", "v", "--size", "-1", "--member", "a"}), HasSubstr("--size"));
    EXPECT_THAT(complaint({"create", "v", "w", "--size", "1G", "--member", "a"}), HasSubstr("w"));
    EXPECT_THAT(complaint({"create", "v", "--size", "1G", "--size", "2G", "--member", "a"}),
                HasSubstr("--size"));
    EXPECT_THAT(complaint({"serve"}), HasSubstr("VOLUME"));
    EXPECT_THAT(complaint({"serve", ""}), HasSubstr("VOLUME"));
    EXPECT_THAT(complaint({"serve", "v", "--cache"}), HasSubstr("--cache"));
    EXPECT_THAT(complaint({"attach", "v", "--as", "magic"}), HasSubstr("magic"));
    EXPECT_THAT(complaint({"attach", "v", "--timeout", "0"}), HasSubstr("--timeout"));
    EXPECT_THAT(complaint({"status", "v", "serve", "v"}), HasSubstr("--help"));
    EXPECT_THAT(complaint({"status", "--watch"}), HasSubstr("needs a volume"));
    EXPECT_THAT(complaint({"status", "v", "--watch", "--json"}), HasSubstr("--watch"));
}

TEST(CommandLine, HelpAndVersionAreNoFailure) {
    for (const char* verb :
         {"create", "serve", "attach", "detach", "status", "inspect", "inject", "assemble"}) {
        testing::internal::CaptureStdout();
        EXPECT_TRUE(std::holds_alternative<NothingToDo>(parse({verb, "--help"}))) << verb;
        EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr(verb));
    }
    testing::internal::CaptureStdout();
    EXPECT_TRUE(std::holds_alternative<NothingToDo>(parse({"--version"})));
    EXPECT_EQ(testing::internal::GetCapturedStdout(), "gemel " GEMEL_VERSION "\n");
    testing::internal::CaptureStdout();
    EXPECT_TRUE(std::holds_alternative<NothingToDo>(parse({"--help"})));
    EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("assemble"));
}

TEST(CommandLine, NamesWhatIsWrong) {
    EXPECT_THAT(complaint({"serve", "--x=1", "vol"}), HasSubstr("there is no option '--x'"));
    EXPECT_THAT(complaint({"serve", "vol", "--slow", "1s"}),
                HasSubstr("there is no option '--slow'"));
    EXPECT_THAT(complaint({"serve", "vol", "two"}), HasSubstr("'two' is one argument too many"));
    EXPECT_THAT(complaint({"serve", "vol", "--cache", "1M", "--cache", "2M"}),
                HasSubstr("--cache is given more than once"));
}

TEST(CommandLine, InjectTakesWholeNumbersOnly) {
    const auto with = [](const char* option, const char* number) {
        return complaint({"inject", "a", "--into", "data", "--kind", "flip", option, number});
    };
    for (const char* number : {"-1", "1.5", "", "x", "18446744073709551616", " 1"}) {
        EXPECT_THAT(with("--count", number), HasSubstr("--count: ")) << number;
        EXPECT_THAT(with("--seed", number), HasSubstr("--seed: ")) << number;
    }
    EXPECT_THAT(with("--count", "0"), HasSubstr("more than 0"));
    EXPECT_EQ(with("--seed", "18446744073709551615"), "");
    EXPECT_THAT(with("--remember", "r"), HasSubstr("--remember goes with"));
}

}  // namespace
}  // namespace gemel::tools
