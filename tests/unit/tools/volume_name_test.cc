// SPDX-License-Identifier: Apache-2.0
#include "tools/config/volume_name.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace gemel::tools {
namespace {

TEST(VolumeName, IsOfLettersDigitsAndThreeMarks) {
    for (const char* name : {"a", "vol", "Vol-1.2_3", "0", "_x", "a.b"}) {
        EXPECT_TRUE(check_volume_name(name).ok()) << name;
    }
    EXPECT_TRUE(check_volume_name(std::string(63, 'x')).ok());
    for (const char* name : {"", ".", "..", ".hidden", "-x", "a b", "a/b", "a\n", "ä", "a*"}) {
        EXPECT_FALSE(check_volume_name(name).ok()) << name;
    }
    EXPECT_FALSE(check_volume_name(std::string(64, 'x')).ok());
    EXPECT_FALSE(check_volume_name(std::string_view("a\0b", 3)).ok());
}

TEST(VolumePaths, LieBesideTheVolumeFile) {
    const VolumePaths paths = volume_paths("/srv/disks", "vol");
    EXPECT_EQ(paths.file, "/srv/disks/vol.toml");
    EXPECT_EQ(paths.witness, "/srv/disks/vol.witness");
    EXPECT_EQ(paths.nbd_socket, "/srv/disks/vol.nbd.sock");
    EXPECT_EQ(paths.control_socket, "/srv/disks/vol.ctl.sock");
}

TEST(VolumePaths, KeepTheWholeNameWhenItHasADot) {
    EXPECT_EQ(volume_paths("/srv", "vol.1").file, "/srv/vol.1.toml");
}

TEST(ResolveVolumeFile, TakesNamesAndPaths) {
    const std::string here = std::filesystem::current_path().string();
    EXPECT_EQ(resolve_volume_file("vol", "/srv").value(), "/srv/vol.toml");
    EXPECT_EQ(resolve_volume_file("vol.toml", "/srv").value(), "/srv/vol.toml");
    EXPECT_EQ(resolve_volume_file("/x/vol.toml", "/srv").value(), "/x/vol.toml");
    EXPECT_EQ(resolve_volume_file("./vol.toml", "/srv").value(), here + "/vol.toml");
    EXPECT_EQ(resolve_volume_file("vol", ".").value(), here + "/vol.toml");
    EXPECT_FALSE(resolve_volume_file("-vol", "/srv").ok());
    EXPECT_FALSE(resolve_volume_file("", "/srv").ok());
}

TEST(SocketPath, HasTheKernelsLimit) {
    EXPECT_TRUE(check_socket_path(std::string(107, 'x')).ok());
    EXPECT_FALSE(check_socket_path(std::string(108, 'x')).ok());
}

TEST(AbsolutePath, DropsOnlyWhatCannotMatter) {
    EXPECT_EQ(absolute_path("a.img", "/srv"), "/srv/a.img");
    EXPECT_EQ(absolute_path("./a.img", "/srv"), "/srv/a.img");
    EXPECT_EQ(absolute_path("/x//y/./a.img", "/srv"), "/x/y/a.img");
    EXPECT_EQ(absolute_path("folder/", "/srv"), "/srv/folder");
}

TEST(AbsolutePath, LetsTheKernelFoldDotDot) {
    namespace fs = std::filesystem;
    const fs::path base = fs::temp_directory_path() / ("gemel_path_" + std::to_string(getpid()));
    fs::create_directories(base / "far" / "away");
    fs::create_directory_symlink(base / "far" / "away", base / "near");
    // By text this would be base/a.img; the kernel goes through the link.
    EXPECT_EQ(absolute_path((base / "near" / ".." / "a.img").string()),
              fs::canonical(base / "far").string() + "/a.img");
    fs::remove_all(base);
}

}  // namespace
}  // namespace gemel::tools
