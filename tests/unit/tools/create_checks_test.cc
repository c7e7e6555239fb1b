// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/create_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace gemel::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

CreateArguments good_arguments() {
    CreateArguments arguments;
    arguments.name = "vol";
    arguments.size = 1 << 30;
    arguments.members = {"a.img", "b.img"};
    return arguments;
}

template <typename Change>
std::string complaint(Change change) {
    CreateArguments arguments = good_arguments();
    change(arguments);
    try {
        check_create_arguments(arguments);
    } catch (const UsageError& error) { return error.what(); }
    return "";
}

TEST(CreateArguments, AreChecked) {
    using A = CreateArguments&;
    EXPECT_EQ(complaint([](A) {}), "");
    EXPECT_THAT(complaint([](A a) { a.name = "-x"; }), HasSubstr("name"));
    EXPECT_THAT(complaint([](A a) { a.name = "x.toml"; }), HasSubstr("without .toml"));
    EXPECT_THAT(complaint([](A a) { a.size = 0; }), HasSubstr("more than 0"));
    EXPECT_THAT(complaint([](A a) { a.size = 4097; }), HasSubstr("8192"));
    EXPECT_THAT(complaint([](A a) { a.size = UINT64_MAX / 4096 * 4096; }), HasSubstr("more than"));
    EXPECT_THAT(complaint([](A a) { a.log_size = 0; }), HasSubstr("--log-size"));
    EXPECT_THAT(complaint([](A a) { a.log_limit = 1; }), HasSubstr("--log-limit"));
    EXPECT_THAT(complaint([](A a) { a.max_size = 4096; }), HasSubstr("--max-size"));
    EXPECT_THAT(complaint([](A a) { a.members.pop_back(); }), HasSubstr("at least 2"));
    EXPECT_THAT(complaint([](A a) { a.members[1] = "tcp://h:1/x"; }),
                HasSubstr("not supported yet"));
    EXPECT_THAT(complaint([](A a) { a.members[1] = ""; }), HasSubstr("empty"));
}

class PathChecks : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = fs::temp_directory_path() / "gemel_checks_XXXXXX";
        folder_ = mkdtemp(pattern.data());
    }
    void TearDown() override { fs::remove_all(folder_); }
    std::string in(const std::string& name) const { return folder_ + "/" + name; }

    std::string folder_;
};

TEST_F(PathChecks, FindTheSameStorageUnderTwoNames) {
    std::ofstream(in("a.img")) << "x";
    fs::create_symlink(in("a.img"), in("symbolic.img"));
    fs::create_hard_link(in("a.img"), in("hard.img"));
    fs::create_symlink(in("future.img"), in("dangling.img"));
    fs::create_directory_symlink(folder_, in("folder"));
    EXPECT_NO_THROW(check_distinct({in("a.img"), in("b.img")}));
    EXPECT_THROW(check_distinct({in("a.img"), in("a.img")}), UsageError);
    EXPECT_THROW(check_distinct({in("new.img"), in("new.img")}), UsageError);
    EXPECT_THROW(check_distinct({in("a.img"), in("symbolic.img")}), UsageError);
    EXPECT_THROW(check_distinct({in("a.img"), in("hard.img")}), UsageError);
    EXPECT_THROW(check_distinct({in("future.img"), in("folder/future.img")}), UsageError);
    EXPECT_THROW(check_distinct({in("future.img"), in("dangling.img")}), UsageError);
}

TEST_F(PathChecks, RefuseWhatCannotBeAMember) {
    std::ofstream(in("a.img")) << "x";
    ASSERT_EQ(mkfifo(in("pipe").c_str(), 0600), 0);
    EXPECT_NO_THROW(check_member_paths({in("a.img"), in("new.img")}));
    EXPECT_THROW(check_member_paths({folder_}), Failure);
    EXPECT_THROW(check_member_paths({in("pipe")}), Failure);
    EXPECT_THROW(check_member_paths({"/dev/null"}), Failure);
    EXPECT_THROW(check_member_paths({in("none/a.img")}), Failure);
    EXPECT_THROW(check_member_paths({in("a.img/b.img")}), Failure);
    EXPECT_THROW(check_member_paths({in(std::string(300, 'x'))}), Failure);
}

TEST_F(PathChecks, ProtectFilesThatExist) {
    std::ofstream(in("vol.toml")) << "x";
    EXPECT_NO_THROW(check_new_file(in("new.toml"), "the volume file", false));
    EXPECT_THROW(check_new_file(in("vol.toml"), "the volume file", false), Failure);
    EXPECT_NO_THROW(check_new_file(in("vol.toml"), "the volume file", true));
    EXPECT_THROW(check_new_file(folder_, "the volume file", true), Failure);
    EXPECT_THROW(check_new_file(in("none/vol.toml"), "the volume file", true), Failure);
}

TEST(SocketPaths, AreCheckedBeforeAnythingIsMade) {
    EXPECT_NO_THROW(check_socket_paths(volume_paths("/srv", "vol")));
    EXPECT_THROW(check_socket_paths(volume_paths("/" + std::string(100, 'x'), "vol")), Failure);
}

}  // namespace
}  // namespace gemel::tools
