// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/inspection_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "blockdev/superblock.h"

namespace gemel::tools {
namespace {

using blockdev::MemberInspection;
using testing::HasSubstr;
using testing::Not;

MemberInspection example() {
    MemberInspection member;
    member.path = "/srv/it's a.img";
    member.size = 100 << 20;
    member.layout = blockdev::make_layout(64 << 20, 256 << 20, 16 << 20);
    member.superblock = blockdev::make_superblock_buffer();
    std::strcpy(member.superblock->name, "vol");
    member.superblock->member.bytes[0] = 0xaa;
    member.superblock->version = 1;
    member.superblock->created_s = 0;
    member.superblock->configuration.member_count = 2;
    member.superblock->configuration.members[0].uuid.bytes[0] = 0xaa;
    member.superblock->configuration.epoch.number = 3;
    member.superblock->epoch_count = 1;
    member.superblock->tail.sequence = 7;
    member.log_last_sequence = 6;
    member.home_is_complete = true;
    return member;
}

TEST(Extents, FollowEachOther) {
    const auto extents = extents_of(example().layout);
    for (size_t i = 1; i < extents.size(); ++i) {
        EXPECT_GE(extents[i].offset, extents[i - 1].offset + extents[i - 1].length)
            << extents[i].structure;
    }
    EXPECT_EQ(extents.back().offset, example().layout.home_offset);
}

TEST(LoopCommand, IsSafeInAShell) {
    EXPECT_THAT(loop_command(example()), HasSubstr("'/srv/it'\\''s a.img'"));
    EXPECT_THAT(loop_command(example()), HasSubstr("--sizelimit 67108864"));
}

MemberInspection with_a_past() {
    MemberInspection member = example();
    member.health.blocks_verified = 1234;
    member.health.healed_by_cause = {3, 0, 0, 2};
    member.health.tables_repaired = 1;
    member.health.last_event = "event=healed block=9 cause=torn";
    member.health.last_event_s = 1'700'000'000;
    member.health.scrub_passes = 4;
    member.health.unrecoverable = {{7, 1}, {100, 20}};
    return member;
}

TEST(InspectionText, TellsAMembersPast) {
    const std::string text = inspection_text(with_a_past());
    EXPECT_THAT(text, HasSubstr("1234 blocks verified"));
    EXPECT_THAT(text, HasSubstr("bit_rot 3, torn 2, 1 table\n"));
    EXPECT_THAT(text, HasSubstr("2023-11-14 22:13:20 UTC, healed block=9 cause=torn"));
    EXPECT_THAT(text, HasSubstr("4 complete"));
    EXPECT_THAT(text, HasSubstr("21 blocks of which no member has a good copy: 7+1 100+20;"));
    EXPECT_THAT(text, HasSubstr("complete but for the lost blocks"));
    const std::string good = inspection_text(example());
    EXPECT_THAT(good, HasSubstr("nothing"));
    EXPECT_THAT(good, HasSubstr("none yet"));
    EXPECT_THAT(good, Not(HasSubstr("lost")));
}

TEST(InspectionJson, TellsAMembersPast) {
    const auto json = nlohmann::json::parse(inspection_json(with_a_past()))["health"];
    EXPECT_EQ(json["healed_by_cause"]["torn"], 2);
    EXPECT_EQ(json["unrecoverable_blocks"], 21);
    EXPECT_EQ(json["unrecoverable"][1]["first_block"], 100);
    EXPECT_EQ(json["unrecoverable"][1]["blocks"], 20);
    EXPECT_EQ(json["last_event_s"], 1'700'000'000);
    const auto good = nlohmann::json::parse(inspection_json(example()))["health"];
    EXPECT_TRUE(good["last_event"].is_null());
    EXPECT_TRUE(good["unrecoverable"].empty());
}

TEST(InspectionText, SaysWhetherHomeMayBeUsed) {
    MemberInspection member = example();
    EXPECT_THAT(inspection_text(member), HasSubstr("losetup --read-only"));
    member.home_is_complete = false;
    EXPECT_THAT(inspection_text(member), HasSubstr("not complete"));
    EXPECT_THAT(inspection_text(member), Not(HasSubstr("losetup")));
    member.owner_pid = 5;
    member.owner_is_alive = true;
    EXPECT_THAT(inspection_text(member), HasSubstr("in use by process 5"));
}

MemberInspection half_copied() {
    MemberInspection member = example();
    blockdev::Superblock& superblock = *member.superblock;
    superblock.configuration.members[0].state = 1;
    superblock.resync.state = 1;
    superblock.resync.base_epoch.bytes[0] = 0xee;
    superblock.resync.base_sequence = 4711;
    superblock.resync.covered_sequence = 4800;
    superblock.resync.cursor_page = 120;
    superblock.resync.window_begin = 120;
    superblock.resync.window_end = 128;
    member.home_is_complete = false;
    return member;
}

TEST(InspectionText, SaysWhatMembersAreConfiguredAs) {
    const std::string text = inspection_text(half_copied());
    EXPECT_THAT(text,
                HasSubstr("  behind     aa000000-0000-0000-0000-000000000000  (this member)"));
    EXPECT_THAT(text, HasSubstr("  in-sync    00000000-"));
}

TEST(InspectionText, SaysHowFarAResyncHasCome) {
    const std::string text = inspection_text(half_copied());
    EXPECT_THAT(text,
                HasSubstr("resync       not complete: has all up to write 4711; of pages 0 to "
                          "119 all up to 4800; pages 120 to 127 may be half copied\n"));
    EXPECT_THAT(text, HasSubstr("in epoch ee000000-"));
    EXPECT_THAT(text, HasSubstr("home         not complete: blocks of before and after"));
    EXPECT_THAT(inspection_text(example()), Not(HasSubstr("resync")));
}

TEST(InspectionJson, SaysHowFarAResyncHasCome) {
    const auto json = nlohmann::json::parse(inspection_json(half_copied()));
    EXPECT_EQ(json["configuration"]["members"][0]["state"], "behind");
    EXPECT_EQ(json["configuration"]["members"][1]["state"], "in-sync");
    EXPECT_EQ(json["resync"]["base_epoch"], "ee000000-0000-0000-0000-000000000000");
    EXPECT_EQ(json["resync"]["base_sequence"], 4711);
    EXPECT_EQ(json["resync"]["covered_sequence"], 4800);
    EXPECT_EQ(json["resync"]["cursor_page"], 120);
    EXPECT_EQ(json["resync"]["window_begin"], 120);
    EXPECT_EQ(json["resync"]["window_end"], 128);
    EXPECT_TRUE(nlohmann::json::parse(inspection_json(example()))["resync"].is_null());
}

TEST(InspectionText, NamesDamage) {
    MemberInspection member = example();
    member.superblock_b_fault = "wrong checksum";
    EXPECT_THAT(inspection_text(member), HasSubstr("A good; B damaged: wrong checksum"));
}

TEST(InspectionText, KeepsHostileTextOnItsLine) {
    MemberInspection member = example();
    std::strcpy(member.superblock->name, "x\nhome complete");
    member.superblock->created_s = UINT64_MAX;
    EXPECT_THAT(inspection_text(member), HasSubstr("x\\x0ahome complete"));
}

TEST(InspectionJson, HasItsDocumentedKeys) {
    const auto json = nlohmann::json::parse(inspection_json(example()));
    EXPECT_EQ(json["schema"], 1);
    EXPECT_EQ(json["volume_name"], "vol");
    EXPECT_EQ(json["home_offset"], example().layout.home_offset);
    EXPECT_EQ(json["volume_size"], 64 << 20);
    EXPECT_EQ(json["tail"]["sequence"], 7);
    EXPECT_EQ(json["configuration"]["members"].size(), 2u);
    EXPECT_EQ(json["epochs"].size(), 1u);
    EXPECT_EQ(json["layout"]["home"]["length"], 64 << 20);
    EXPECT_TRUE(json["owner_pid"].is_null());
    EXPECT_TRUE(json["home_is_complete"]);
}

}  // namespace
}  // namespace gemel::tools
