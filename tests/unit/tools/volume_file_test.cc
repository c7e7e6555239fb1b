// SPDX-License-Identifier: Apache-2.0
#include "tools/config/volume_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

namespace gemel::tools {
namespace {

using mirror::VolumeDescription;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kPath = "/srv/vol.toml";

constexpr const char* kGood = R"(schema = 1
name = "vol"
uuid = "11111111-2222-4333-8444-555555555555"
size = "1G"
witness = "vol.witness"

[[member]]
path = "a.img"
uuid = "aaaaaaaa-2222-4333-8444-555555555555"

[[member]]
path = "/dev/disk/by-id/x"
uuid = "bbbbbbbb-2222-4333-8444-555555555555"
)";

std::string with(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

std::string complaint(const std::string& text) {
    const Outcome<VolumeDescription> volume = parse_volume_file(text, kPath);
    EXPECT_FALSE(volume.ok()) << text;
    return volume.ok() ? "" : volume.error().text;
}

class Folder {
public:
    Folder() {
        std::string pattern = std::filesystem::temp_directory_path() / "gemel_file_XXXXXX";
        path_ = mkdtemp(pattern.data());
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string file(const std::string& name) const { return path_ + "/" + name; }
    size_t entries() const {
        return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
    }

private:
    std::string path_;
};

TEST(VolumeFile, IsUnderstood) {
    const Outcome<VolumeDescription> volume = parse_volume_file(kGood, kPath);
    ASSERT_TRUE(volume.ok()) << volume.error().text;
    EXPECT_EQ(volume.value().name, "vol");
    EXPECT_EQ(volume.value().uuid.text(), "11111111-2222-4333-8444-555555555555");
    EXPECT_EQ(volume.value().size, 1ull << 30);
    EXPECT_EQ(volume.value().witness_path, "/srv/vol.witness");
    ASSERT_EQ(volume.value().members.size(), 2u);
    EXPECT_EQ(volume.value().members[0].path, "/srv/a.img");
    EXPECT_EQ(volume.value().members[1].path, "/dev/disk/by-id/x");
}

TEST(VolumeFile, TakesTheSizeAsANumber) {
    EXPECT_EQ(parse_volume_file(with("\"1G\"", "8192"), kPath).value().size, 8192u);
}

TEST(VolumeFile, NamesFileAndLineOfWhatIsWrong) {
    EXPECT_THAT(complaint(with("size = \"1G\"", "size = ")), HasSubstr("/srv/vol.toml, line 4:"));
    EXPECT_THAT(complaint(with("size", "sise")), AllOf(HasSubstr("line 4"), HasSubstr("'sise'")));
    EXPECT_THAT(complaint(with("\"1G\"", "\"1X\"")), HasSubstr("line 4"));
    EXPECT_THAT(complaint(with("\"1G\"", "-1")), HasSubstr("line 4"));
    EXPECT_THAT(complaint(with("\"1G\"", "0")), HasSubstr("line 4"));
    EXPECT_THAT(complaint(with("\"1G\"", "true")), HasSubstr("line 4"));
    EXPECT_THAT(complaint(with("\"vol\"", "\"../vol\"")), HasSubstr("line 2"));
    EXPECT_THAT(complaint(with("\"vol\"", "7")), HasSubstr("line 2"));
    EXPECT_THAT(complaint(with("11111111-", "1111111-")), HasSubstr("line 3"));
    EXPECT_THAT(complaint(with("\"a.img\"", "\"\"")), HasSubstr("line 8"));
    EXPECT_THAT(complaint(with("\"a.img\"", "\"a\\u0000b\"")), HasSubstr("line 8"));
    EXPECT_THAT(complaint(with("\"a.img\"", "\"folder/\"")), HasSubstr("line 8"));
    EXPECT_THAT(complaint(with("path = \"a.img\"", "paht = \"a.img\"")), HasSubstr("line 8"));
    EXPECT_THAT(complaint(with("path = \"a.img\"\n", "")),
                AllOf(HasSubstr("line 7"), HasSubstr("'path' is missing")));
    EXPECT_THAT(complaint(with("name = \"vol\"\n", "")), HasSubstr("'name' is missing"));
    EXPECT_THAT(complaint(with("name", "name = \"x\"\nname")), HasSubstr("line 3"));
}

TEST(VolumeFile, RefusesAnotherSchemaBeforeItsKeys) {
    EXPECT_THAT(complaint(with("schema = 1", "future = true\nschema = 2")), HasSubstr("schema"));
    EXPECT_THAT(complaint(with("schema = 1\n", "")), HasSubstr("'schema' is missing"));
}

TEST(VolumeFile, RefusesMembersTwiceOrTooFew) {
    EXPECT_THAT(complaint(with("/dev/disk/by-id/x", "./a.img")), HasSubstr("listed twice"));
    EXPECT_THAT(complaint(with("bbbbbbbb", "aaaaaaaa")), HasSubstr("listed twice"));
    const std::string text = kGood;
    EXPECT_THAT(complaint(text.substr(0, text.find("[[member]]"))),
                HasSubstr("'member' is missing"));
    EXPECT_THAT(complaint(text.substr(0, text.find("[[member]]")) + "member = []\n"),
                HasSubstr("a volume has members"));
    EXPECT_THAT(complaint(text.substr(0, text.find("[[member]]")) + "member = [1, 2]\n"),
                HasSubstr("must be a table"));
}

TEST(VolumeFile, SurvivesAnyDamage) {
    // Whatever the bytes, the answer is a volume or a problem; a crash or a hang fails the test.
    std::mt19937_64 random(20260101);
    const std::string pieces[] = {"[[",
                                  "]]",
                                  "\"\"\"",
                                  "'",
                                  "{",
                                  "=",
                                  "\\u",
                                  "\xff",
                                  "[",
                                  "1e999",
                                  "1979-05-27T07:32:00Z",
                                  "#",
                                  "\n",
                                  ".",
                                  "inf",
                                  "0x",
                                  "\xef\xbb"};
    for (int round = 0; round < 3000; ++round) {
        std::string text = kGood;
        for (uint64_t change = random() % 5 + 1; change > 0; --change) {
            const size_t at = random() % text.size();
            switch (random() % 4) {
                case 0: text[at] = static_cast<char>(random()); break;
                case 1: text.erase(at, random() % 20); break;
                case 2: text.insert(at, pieces[random() % std::size(pieces)]); break;
                default: text.insert(at, text.substr(random() % text.size(), random() % 200));
            }
            if (text.empty()) text = "x";
        }
        const Outcome<VolumeDescription> volume = parse_volume_file(text, kPath);
        if (!volume.ok()) { EXPECT_THAT(volume.error().text, HasSubstr(kPath)); }
    }
    EXPECT_FALSE(parse_volume_file(std::string(50'000, '['), kPath).ok());
    EXPECT_FALSE(parse_volume_file("a = " + std::string(50'000, '['), kPath).ok());
    EXPECT_FALSE(parse_volume_file(std::string(kVolumeFileSizeMax + 1, '#'), kPath).ok());
}

TEST(VolumeFile, ReadsBackWhatItWrote) {
    VolumeDescription volume = parse_volume_file(kGood, kPath).value();
    volume.members[0].path = "/srv/with \"quotes\", \\ and\nlines\t\x7f.img";
    volume.members[1].path = "/elsewhere/\xc3\xa4.img";
    const std::string text = render_volume_file(volume, kPath);
    const Outcome<VolumeDescription> again = parse_volume_file(text, kPath);
    ASSERT_TRUE(again.ok()) << again.error().text << "\n" << text;
    EXPECT_EQ(again.value().members[0].path, volume.members[0].path);
    EXPECT_EQ(again.value().members[1].path, volume.members[1].path);
    EXPECT_EQ(again.value().members[1].uuid, volume.members[1].uuid);
    EXPECT_EQ(again.value().size, volume.size);
    EXPECT_EQ(again.value().witness_path, volume.witness_path);
}

TEST(VolumeFile, KeepsPathsBesideItRelative) {
    const VolumeDescription volume = parse_volume_file(kGood, kPath).value();
    const std::string text = render_volume_file(volume, kPath);
    EXPECT_THAT(text, HasSubstr("path = \"a.img\""));
    const Outcome<VolumeDescription> moved = parse_volume_file(text, "/mnt/vol.toml");
    EXPECT_EQ(moved.value().members[0].path, "/mnt/a.img");
}

TEST(VolumeFile, IsWrittenWholeOrNotAtAll) {
    const Folder folder;
    const VolumeDescription volume = parse_volume_file(kGood, kPath).value();
    ASSERT_TRUE(write_volume_file(folder.file("vol.toml"), volume, false).ok());
    EXPECT_EQ(folder.entries(), 1u);
    EXPECT_EQ(read_volume_file(folder.file("vol.toml")).value().uuid, volume.uuid);

    const Outcome<void> again = write_volume_file(folder.file("vol.toml"), volume, false);
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().code, Errc::exists);
    EXPECT_TRUE(write_volume_file(folder.file("vol.toml"), volume, true).ok());
    EXPECT_EQ(folder.entries(), 1u);
    EXPECT_FALSE(write_volume_file(folder.file("none/vol.toml"), volume, false).ok());
    EXPECT_EQ(folder.entries(), 1u);
}

TEST(VolumeFile, RefusesToHoldWhatItCannotGiveBack) {
    const Folder folder;
    VolumeDescription volume = parse_volume_file(kGood, kPath).value();
    volume.members[0].path = "/srv/\xff.img";
    EXPECT_FALSE(write_volume_file(folder.file("vol.toml"), volume, false).ok());
    EXPECT_EQ(folder.entries(), 0u);
}

TEST(VolumeFile, IsARegularFile) {
    const Folder folder;
    EXPECT_EQ(read_volume_file(folder.file("none.toml")).error().code, Errc::not_found);
    EXPECT_FALSE(read_volume_file(folder.file("")).ok());
    ASSERT_EQ(mkfifo(folder.file("pipe.toml").c_str(), 0600), 0);
    EXPECT_FALSE(read_volume_file(folder.file("pipe.toml")).ok());
    EXPECT_FALSE(looks_like_volume_file(folder.file("pipe.toml")));
    std::ofstream(folder.file("other.toml")) << "[package]\n";
    EXPECT_FALSE(looks_like_volume_file(folder.file("other.toml")));
    std::ofstream(folder.file("broken.toml")) << "[[member]]\nx";
    EXPECT_TRUE(looks_like_volume_file(folder.file("broken.toml")));
}

}  // namespace
}  // namespace gemel::tools
