// SPDX-License-Identifier: Apache-2.0
//
// Making volumes: what is refused, that a refusal leaves everything as it was, and assembling.
#include "mirror/create.h"

#include <gtest/gtest.h>

#include "blockdev/inspect.h"
#include "mirror/configuration.h"
#include "mirror/open.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;
using blockdev::kMiB;

CreateOptions good_options() {
    CreateOptions options;
    options.name = "vol";
    options.size = 8 * kMiB;
    options.members = {"/a", "/b"};
    options.witness_path = "/w";
    options.log_size = 4 * kMiB;
    return options;
}

class CreateTest : public ::testing::Test {
protected:
    Outcome<VolumeDescription> create(const CreateOptions& options) {
        return store_.run(create_volume(*store_.env, options));
    }
    void expect_refused(const CreateOptions& options, Errc code, const std::string& text) {
        const auto created = create(options);
        ASSERT_FALSE(created.ok());
        EXPECT_EQ(created.error().code, code) << created.error().text;
        EXPECT_NE(created.error().text.find(text), std::string::npos) << created.error().text;
    }
    bool exists(const std::string& path) { return store_.world.find_drive(path) != nullptr; }

    blockdev::StoreWorld store_;
};

TEST_F(CreateTest, MakesMembersAndWitnessThatBelongTogether) {
    const auto created = create(good_options());
    ASSERT_TRUE(created.ok()) << created.error().text;
    const VolumeDescription& description = created.value();
    EXPECT_EQ(description.name, "vol");
    EXPECT_EQ(description.size, 8 * kMiB);
    ASSERT_EQ(description.members.size(), 2u);
    EXPECT_NE(description.members[0].uuid, description.members[1].uuid);
    const auto witness = read_witness(*store_.env, "/w", description.uuid);
    ASSERT_TRUE(witness.ok() && witness.value().configuration.has_value());
    for (size_t i = 0; i < 2; ++i) {
        const auto found =
            store_.run(blockdev::inspect_member(*store_.env, description.members[i].path));
        ASSERT_TRUE(found.ok());
        const blockdev::Superblock& superblock = *found.value().superblock;
        EXPECT_EQ(superblock.member, description.members[i].uuid);
        EXPECT_EQ(superblock.volume, description.uuid);
        EXPECT_EQ(blockdev::volume_name(superblock), "vol");
        EXPECT_EQ(superblock.geometry.maximum_size, 32 * kMiB);
        EXPECT_EQ(superblock.geometry.log_limit, kDefaultLogLimit);
        EXPECT_EQ(std::memcmp(&superblock.configuration, &*witness.value().configuration,
                              sizeof superblock.configuration),
                  0);
        EXPECT_TRUE(found.value().home_is_complete);
    }
}

TEST_F(CreateTest, TwoVolumesShareNoSecretAndNoIdentity) {
    CreateOptions other = good_options();
    other.members = {"/c", "/d"};
    other.witness_path = "/w2";
    const auto first = create(good_options());
    const auto second = create(other);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_NE(first.value().uuid, second.value().uuid);
    const auto a = store_.platter("/a", 0, blockdev::kSuperblockSize);
    const auto c = store_.platter("/c", 0, blockdev::kSuperblockSize);
    EXPECT_NE(std::memcmp(a.data() + 216, c.data() + 216, 32), 0);
    const auto b = store_.platter("/b", 0, blockdev::kSuperblockSize);
    EXPECT_EQ(std::memcmp(a.data() + 216, b.data() + 216, 32), 0);
}

TEST_F(CreateTest, ImpossibleWishesAreRefusedBeforeAnythingIsTouched) {
    struct Case {
        const char* text;
        void (*spoil)(CreateOptions&);
    };
    const Case cases[] = {
        {"multiple of 4096", [](CreateOptions& o) { o.size = 0; }},
        {"multiple of 4096", [](CreateOptions& o) { o.size = 5000; }},
        {"at most", [](CreateOptions& o) { o.size = blockdev::kMaximumVolumeSize + 4096; }},
        {"at most", [](CreateOptions& o) { o.max_size = UINT64_MAX; }},
        {"maximum size", [](CreateOptions& o) { o.max_size = 4 * kMiB; }},
        {"log size", [](CreateOptions& o) { o.log_size = kMiB; }},
        {"log size", [](CreateOptions& o) { o.log_size = 4 * kMiB + 1; }},
        {"log size", [](CreateOptions& o) { o.log_size = 65ull << 30; }},
        {"log limit", [](CreateOptions& o) { o.log_limit = 0; }},
        {"log limit", [](CreateOptions& o) { o.log_limit = 1000; }},
        {"log limit", [](CreateOptions& o) { o.log_limit = kMiB; }},
        {"2 to 16 members", [](CreateOptions& o) { o.members = {}; }},
        {"2 to 16 members", [](CreateOptions& o) { o.members = {"/a"}; }},
        {"2 to 16 members", [](CreateOptions& o) { o.members.resize(17, "/x"); }},
        {"/a: is given twice", [](CreateOptions& o) { o.members = {"/a", "/b", "/a"}; }},
    };
    for (const Case& one : cases) {
        CreateOptions options = good_options();
        one.spoil(options);
        expect_refused(options, Errc::invalid, one.text);
        EXPECT_FALSE(exists("/a"));
        EXPECT_TRUE(store_.world.files().empty());
    }
}

TEST_F(CreateTest, ARefusalLeavesNoNewFileAndNoChange) {
    store_.world.add_drive({.path = "/b", .size = kMiB});
    store_.drive("/b").platter().tamper(5000, std::vector<std::byte>(10, std::byte{7}));
    const auto before = store_.platter("/b", 0, kMiB);
    expect_refused(good_options(), Errc::exists, "/b: is not empty");
    EXPECT_FALSE(exists("/a"));
    EXPECT_EQ(store_.platter("/b", 0, kMiB), before);
    EXPECT_EQ(store_.drive("/b").platter().size(), kMiB);
    EXPECT_TRUE(store_.world.files().empty());
    CreateOptions forced = good_options();
    forced.force = true;
    EXPECT_TRUE(create(forced).ok());
}

TEST_F(CreateTest, ADeviceThatIsTooSmallIsToldWhatWouldFit) {
    store_.world.add_drive({.path = "/b", .size = 12 * kMiB, .is_block_device = true});
    const auto created = create(good_options());
    ASSERT_FALSE(created.ok());
    EXPECT_EQ(created.error().code, Errc::no_space);
    const uint64_t fits = blockdev::largest_volume(12 * kMiB, 32 * kMiB, 4 * kMiB);
    EXPECT_NE(created.error().text.find(std::to_string(fits)), std::string::npos)
        << created.error().text;
    EXPECT_FALSE(exists("/a"));
    CreateOptions smaller = good_options();
    smaller.max_size = 32 * kMiB;
    smaller.size = fits;
    EXPECT_TRUE(create(smaller).ok());
}

TEST_F(CreateTest, AFullFileSystemIsNoticedBeforeItIsFilled) {
    sim::FileSystem space{.capacity_pages = 500};
    store_.world.add_drive({.path = "/b", .file_system = &space});
    expect_refused(good_options(), Errc::no_space, "/b: its file system has");
    EXPECT_EQ(space.used_pages, 0u);
    EXPECT_FALSE(exists("/a"));
}

TEST_F(CreateTest, AFailureInTheMiddleLeavesNoNewFile) {
    store_.world.watch([this](const sim::Moment& moment) {
        if (moment.drive == nullptr || moment.drive->options().path != "/b") return;
        moment.drive->faults.write_error_rate = sim::kCertain;
        store_.world.watch(nullptr);
    });
    const auto created = create(good_options());
    ASSERT_FALSE(created.ok());
    EXPECT_EQ(created.error().code, Errc::io);
    EXPECT_FALSE(exists("/a"));
    EXPECT_FALSE(exists("/b"));
    EXPECT_TRUE(store_.world.files().empty());
}

TEST_F(CreateTest, AMemberInUseIsRefusedAlsoWhenForced) {
    const auto created = create(good_options());
    ASSERT_TRUE(created.ok());
    auto opened = store_.run(open_volume(*store_.env, created.value(), {.cache_bytes = 1 << 20}));
    ASSERT_TRUE(opened.ok());
    CreateOptions forced = good_options();
    forced.force = true;
    forced.members = {"/new", "/a"};
    expect_refused(forced, Errc::busy, "/a");
    EXPECT_FALSE(exists("/new"));
    ASSERT_TRUE(store_.run(opened.value()->close(store_.world.now_ns() + kSecond)).ok());
}

TEST_F(CreateTest, SizeHardlyCostsSpace) {
    sim::FileSystem space;
    store_.world.add_drive({.path = "/a", .file_system = &space});
    CreateOptions options = good_options();
    options.size = 1ull << 40;
    ASSERT_TRUE(create(options).ok());
    EXPECT_LT(space.used_pages * kBlockSize, 6 * kMiB);
}

// --- Assembling

class AssembleTest : public CreateTest {
protected:
    void SetUp() override {
        const auto created = create(good_options());
        ASSERT_TRUE(created.ok());
        description_ = created.value();
    }
    Outcome<VolumeDescription> assemble(std::vector<std::string> paths) {
        return store_.run(assemble_volume(*store_.env, std::move(paths), "/w"));
    }
    VolumeDescription description_;
};

TEST_F(AssembleTest, BringsTheDescriptionBackInAnyOrder) {
    const auto found = assemble({"/b", "/a"});
    ASSERT_TRUE(found.ok()) << found.error().text;
    EXPECT_EQ(found.value().name, "vol");
    EXPECT_EQ(found.value().uuid, description_.uuid);
    EXPECT_EQ(found.value().size, description_.size);
    EXPECT_EQ(found.value().members[0].path, "/b");
    EXPECT_EQ(found.value().members[0].uuid, description_.members[1].uuid);
    EXPECT_EQ(found.value().witness_path, "/w");
}

TEST_F(AssembleTest, LeavesMembersThatWereClosedInOrderSo) {
    ASSERT_TRUE(assemble({"/a", "/b"}).ok());
    for (const char* path : {"/a", "/b"}) {
        const auto found = store_.run(blockdev::inspect_member(*store_.env, path));
        EXPECT_EQ(found.value().owner_pid, 0u);
        EXPECT_TRUE(found.value().home_is_complete);
    }
}

TEST_F(AssembleTest, ALostWitnessIsMadeAnew) {
    const std::vector<std::byte> good = store_.world.files()["/w"];
    store_.world.files().clear();
    ASSERT_TRUE(assemble({"/a", "/b"}).ok());
    EXPECT_EQ(store_.world.files()["/w"], good);
}

TEST_F(AssembleTest, ListsThoseThatAreKnownIfTheyAreEnoughToStart) {
    const auto found = assemble({"/b"});
    ASSERT_TRUE(found.ok()) << found.error().text;
    ASSERT_EQ(found.value().members.size(), 1u);
    EXPECT_EQ(found.value().members[0].uuid, description_.members[1].uuid);
}

TEST_F(AssembleTest, RefusesWhatIsNotEnoughToStart) {
    EXPECT_EQ(assemble({}).error().code, Errc::invalid);
    EXPECT_EQ(assemble({"/a", "/absent"}).error().code, Errc::not_found);
    store_.world.files().clear();
    const auto refused = assemble({"/a"});
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().text.find(description_.members[1].uuid.text()), std::string::npos);
    EXPECT_TRUE(store_.world.files().empty());
}

TEST_F(AssembleTest, RefusesMembersOfTwoVolumes) {
    CreateOptions other = good_options();
    other.members = {"/c", "/d"};
    other.witness_path = "/w2";
    ASSERT_TRUE(create(other).ok());
    const auto mixed = assemble({"/a", "/d"});
    ASSERT_FALSE(mixed.ok());
    EXPECT_NE(mixed.error().text.find("/d: belongs to another volume"), std::string::npos);
}

}  // namespace
}  // namespace gemel::mirror
