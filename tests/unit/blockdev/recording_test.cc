// SPDX-License-Identifier: Apache-2.0
#include "blockdev/recording.h"

#include <gmock/gmock.h>

#include "tests/unit/blockdev/damage_world.h"

namespace gemel::blockdev {
namespace {

using testing::HasSubstr;

class RecordingTest : public DamageWorld {
protected:
    Outcome<RecordingSummary> record(const std::string& member, const std::string& file) {
        return world_.run(record_member(*world_.env, member, file));
    }
    Outcome<std::unique_ptr<Recording>> open_recording(const std::string& file, Uuid member) {
        return world_.run(Recording::open(*world_.env, file, member));
    }
    static Task<Status> read(Recording& recording, uint64_t offset, std::span<std::byte> out) {
        co_return co_await recording.read(offset, out);
    }
    std::string problem_of(const std::string& file, Uuid member) {
        const auto opened = open_recording(file, member);
        return opened.ok() ? "" : opened.error().text;
    }

    const Uuid member_uuid_ = fixed_configuration(2).members[0].uuid;
};

TEST_F(RecordingTest, GivesBackEveryByte) {
    fill();
    const std::vector<std::byte> content = snapshot();
    const auto summary = record("/m", "/r");
    ASSERT_TRUE(summary.ok()) << summary.error().text;
    EXPECT_EQ(summary.value().member, member_uuid_);
    EXPECT_EQ(summary.value().length, layout_.member_size());
    EXPECT_LT(summary.value().bytes_written, 2 * kMiB);
    const auto recording = open_recording("/r", member_uuid_);
    ASSERT_TRUE(recording.ok());
    const AlignedBytes bytes = allocate_aligned(content.size() + kBlockSize);
    const std::span<std::byte> out(bytes.get(), content.size() + kBlockSize);
    ASSERT_TRUE(world_.run(read(*recording.value(), 0, out)).ok());
    EXPECT_EQ(std::memcmp(bytes.get(), content.data(), content.size()), 0);
    EXPECT_TRUE(all_zero(out.subspan(content.size())));  // Beyond its end.
}

TEST_F(RecordingTest, ReplacesAnEarlierOne) {
    write(0, 10);
    checkpoint();
    ASSERT_TRUE(record("/m", "/r").ok());
    append_and_wait(world_, *member_, chain_.next({{EntryKind::trim, 0, 512, nullptr}}));
    checkpoint();
    close();
    const std::vector<std::byte> content = snapshot();
    ASSERT_TRUE(record("/m", "/r").ok());
    const auto recording = open_recording("/r", member_uuid_);
    const AlignedBytes bytes = allocate_aligned(content.size());
    ASSERT_TRUE(world_.run(read(*recording.value(), 0, {bytes.get(), content.size()})).ok());
    EXPECT_EQ(std::memcmp(bytes.get(), content.data(), content.size()), 0);
}

TEST_F(RecordingTest, OverwritesNothingElse) {
    close();
    add_quick_member(world_, "/other", layout_, fixed_configuration(2), 1);
    ASSERT_TRUE(record("/other", "/r").ok());
    EXPECT_THAT(record("/m", "/r").error().text, HasSubstr("another member"));
    const std::vector<std::byte> before = snapshot();
    EXPECT_THAT(record("/m", "/m").error().text, HasSubstr("/m: is not a recording"));
    EXPECT_TRUE(snapshot() == before);
    EXPECT_THAT(record("/none", "/new").error().text, HasSubstr("/none"));
    EXPECT_EQ(world_.world.find_drive("/new"), nullptr);
    world_.world.add_drive({.path = "/dev", .size = 64 * kMiB, .is_block_device = true});
    EXPECT_THAT(record("/m", "/dev").error().text, HasSubstr("device"));
    // An empty file, as mktemp makes them, holds nothing to lose.
    world_.world.add_drive({.path = "/empty"});
    EXPECT_TRUE(record("/m", "/empty").ok());
}

TEST_F(RecordingTest, IsRefusedForAnotherMemberOrIncomplete) {
    close();
    ASSERT_TRUE(record("/m", "/r").ok());
    const Uuid other = fixed_configuration(2).members[1].uuid;
    EXPECT_THAT(problem_of("/r", other), HasSubstr("another member"));
    EXPECT_THAT(problem_of("/m", member_uuid_), HasSubstr("not a recording"));
    EXPECT_THAT(problem_of("/none", member_uuid_), HasSubstr("/none"));
    // The source fails on the way: the second time the file is not a recording any more.
    world_.drive("/m").faults.unreadable_pages = {layout_.home(0) / kBlockSize};
    EXPECT_THAT(record("/m", "/new").error().text, HasSubstr("/m: cannot be read"));
    EXPECT_EQ(world_.world.find_drive("/new"), nullptr);
    EXPECT_FALSE(record("/m", "/r").ok());
    EXPECT_THAT(problem_of("/r", member_uuid_), HasSubstr("not complete"));
    world_.drive("/m").faults.unreadable_pages.clear();
    EXPECT_TRUE(record("/m", "/r").ok());
    EXPECT_EQ(problem_of("/r", member_uuid_), "");
}

TEST_F(RecordingTest, EachRuleOfItsHeaderIsChecked) {
    close();
    ASSERT_TRUE(record("/m", "/r").ok());
    RecordingHeader header;
    std::memcpy(static_cast<void*>(&header), world_.platter("/r", 0, sizeof header).data(),
                sizeof header);
    EXPECT_EQ(recording_fault(header), nullptr);
    header.reserved[0] = 1;
    EXPECT_STREQ(recording_fault(header), "checksum");
    header.magic = 0;
    EXPECT_STREQ(recording_fault(header), "magic");
}

}  // namespace
}  // namespace gemel::blockdev
