// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/injection_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "blockdev/layout.h"

namespace gemel::tools {
namespace {

using blockdev::Damage;
using blockdev::DamageKind;
using blockdev::Structure;
using nlohmann::json;

json first_damage(const Damage& damage) {
    blockdev::Injection injection;
    injection.events = 1;
    injection.damages.push_back(damage);
    return json::parse(injection_json("/a", {}, injection))["damages"][0];
}

Damage damage_of(Structure structure, uint64_t number) {
    Damage damage;
    damage.event = 1;
    damage.place.structure = structure;
    damage.place.number = number;
    damage.place.offset = blockdev::kLogOffset + 8192;
    damage.offset = damage.place.offset + 512;
    damage.length = 3584;
    return damage;
}

TEST(InjectionJson, TellsWhatWasAskedAndWhatWasDone) {
    blockdev::InjectOptions options;
    options.kind = DamageKind::stale;
    options.count = 3;
    options.seed = UINT64_MAX;
    blockdev::Injection injection;
    injection.member.bytes[0] = 0xaa;
    injection.events = 2;
    const json told = json::parse(injection_json("/a\xff", options, injection));
    EXPECT_EQ(told["schema"], 1);
    EXPECT_EQ(told["path"], "/a\uFFFD");
    EXPECT_EQ(told["member_uuid"], injection.member.text());
    EXPECT_EQ(told["into"], "any");
    EXPECT_EQ(told["kind"], "stale");
    EXPECT_EQ(told["seed"], UINT64_MAX);
    EXPECT_EQ(told["count"], 3);
    EXPECT_EQ(told["events"], 2);
    EXPECT_EQ(told["fewer_than_asked"], true);
    EXPECT_TRUE(told["damages"].empty());
    options.into = Structure::log;
    injection.events = 3;
    const json all = json::parse(injection_json("/a", options, injection));
    EXPECT_EQ(all["into"], "log");
    EXPECT_EQ(all["fewer_than_asked"], false);
}

TEST(InjectionJson, NamesAPlaceInTheWordsOfItsStructure) {
    Damage damage = damage_of(Structure::data, 77);
    damage.kind = DamageKind::flip;
    damage.bit = 7;
    EXPECT_EQ(first_damage(damage), json({{"event", 1},
                                          {"structure", "data"},
                                          {"kind", "flip"},
                                          {"offset", 1057280},
                                          {"length", 3584},
                                          {"block", 77},
                                          {"bit", 7}}));
    damage = damage_of(Structure::checksum, 3);
    damage.kind = DamageKind::torn;
    damage.place.slot = 1;
    EXPECT_EQ(first_damage(damage), json({{"event", 1},
                                          {"structure", "checksum"},
                                          {"kind", "torn"},
                                          {"offset", 1057280},
                                          {"length", 3584},
                                          {"page", 3},
                                          {"slot", 1}}));
    damage = damage_of(Structure::index, 4);
    damage.place.level = 2;
    EXPECT_EQ(first_damage(damage)["level"], 2);
    EXPECT_EQ(first_damage(damage)["page"], 4);
    EXPECT_EQ(first_damage(damage)["slot"], 0);
    damage = damage_of(Structure::log, 55);
    EXPECT_EQ(first_damage(damage)["ring_offset"], 8192);
    EXPECT_EQ(first_damage(damage)["first_sequence"], 55);
    EXPECT_EQ(first_damage(damage)["part"], "payload");
    damage.place.is_batch_header = true;
    EXPECT_EQ(first_damage(damage)["part"], "header");
    EXPECT_EQ(first_damage(damage_of(Structure::superblock, 0))["copy"], "A");
    EXPECT_EQ(first_damage(damage_of(Structure::superblock, 1))["copy"], "B");
}

TEST(InjectionJson, ASwapNamesItsPartner) {
    Damage damage = damage_of(Structure::data, 77);
    damage.kind = DamageKind::swap;
    damage.partner = damage_of(Structure::data, 5).place;
    EXPECT_EQ(first_damage(damage)["partner"], json({{"offset", 1056768}, {"block", 5}}));
}

TEST(RecordingJson, TellsWhereAndHowMuch) {
    blockdev::RecordingSummary summary;
    summary.length = 100;
    summary.bytes_written = 5;
    const json told = json::parse(recording_json("/a", "/r", summary));
    EXPECT_EQ(told["schema"], 1);
    EXPECT_EQ(told["path"], "/a");
    EXPECT_EQ(told["remembered_in"], "/r");
    EXPECT_EQ(told["length"], 100);
    EXPECT_EQ(told["bytes_written"], 5);
}

}  // namespace
}  // namespace gemel::tools
