// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/volume_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/tools/example_status.h"
#include "tools/gemel/plain_text.h"
#include "tools/gemel/text_table.h"

namespace gemel::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(VolumeStatusJson, IsReadBackWhole) {
    const VolumeStatus status = example_status();
    const std::string json = volume_status_json(status);
    EXPECT_EQ(json.find('\n'), std::string::npos);
    const Outcome<VolumeStatus> again = parse_volume_status(json);
    ASSERT_TRUE(again.ok()) << again.error().text;
    // Equal text means equal fields: every field is written.
    EXPECT_EQ(volume_status_json(again.value()), json);
    EXPECT_EQ(again.value().report.members[1].free_bytes, UINT64_MAX);
    EXPECT_EQ(again.value().server->addresses, status.server->addresses);
}

TEST(VolumeStatusJson, KeepsItsKeysAndTheirOrder) {
    // What scripts rely on. A new key may join; none of these may go or change its meaning.
    EXPECT_EQ(
        volume_status_json(example_status()),
        R"({"name":"vol","file":"/srv/vol.toml",)"
        R"("uuid":"01000000-0000-0000-0000-000000000000","state":"stopped",)"
        R"("stopped_because":"a.img: I/O error","problem":null,"size":1073741824,)"
        R"("layout":"mirror","consistency":"sync","epoch":3,"commit_sequence":12,)"
        R"("stable_sequence":11,"short_of_space":true,"server":{"pid":77,)"
        R"("version":"0.1.0","uptime_s":61,"addresses":["unix:/srv/vol.nbd.sock"]},)"
        R"("counters":{"reads":1,"writes":2,"flushes":3,"trims":4,"bytes_read":4096,)"
        R"("bytes_written":8192,"batches":5,"checkpoints":6},)"
        R"("unrecoverable_blocks":3,"unrecoverable":[{"first_block":7,"blocks":3}],)"
        R"("scrub":{"running":true,"next_page":11,"pages":12,"started_s":13,)"
        R"("finished_s":14,"passes":15,"remaining_s":16,"blocks_checked":17,)"
        R"("blocks_healed":18,"tables_repaired":19,"logs_healed":20,)"
        R"("found":{"bit_rot":21,"lost_write":22,"misdirected":23,"torn":24,)"
        R"("unreadable":25},"damage":[)"
        R"({"member":0,"cause":"bit_rot","first_block":26,"blocks":1},)"
        R"({"member":0,"cause":"bit_rot","first_block":28,"blocks":2},)"
        R"({"member":1,"cause":"unreadable","first_block":30,"blocks":25}]},"resync":{"running":true,)"
        R"("member":"/srv/a.img","pages":41,"pages_done":42,"blocks_compared":43,)"
        R"("blocks_copied":44,"blocks_zeroed":45,"blocks_unrecoverable":46,)"
        R"("remaining_s":47},"members":[)"
        R"({"uuid":"02000000-0000-0000-0000-000000000000","path":"/srv/a.img",)"
        R"("state":"failed","why":"no progress: timed out","released":false,"configured":"behind",)"
        R"("spare":true,"replaces":"/srv/z.img",)"
        R"("resync":{"base_epoch":"04000000-0000-0000-0000-000000000000",)"
        R"("base_sequence":21,"covered_sequence":22,"cursor_page":23,)"
        R"("window_begin":24,"window_end":25},"direct":true,"logged_sequence":12,"stable_sequence":11,)"
        R"("checkpoint_sequence":10,"log_bytes_used":1048576,"log_bytes_total":2097152,)"
        R"("blocks_read":7,"blocks_verified":8,"mismatches":9,"blocks_healed":1,)"
        R"("tables_repaired":4,"log_blocks_healed":5,"read_errors":2,"write_errors":3,)"
        R"("healed_by_cause":{"bit_rot":6,"lost_write":7,"misdirected":8,"torn":9,)"
        R"("unreadable":10},"last_event":"event=healed","last_event_s":1700000000,)"
        R"("free_bytes":123456},)"
        R"({"uuid":"03000000-0000-0000-0000-000000000000","path":"/dev/sdx",)"
        R"("state":"in-sync","why":null,"released":false,"configured":null,)"
        R"("spare":false,"replaces":null,"resync":null,"direct":false,)"
        R"("logged_sequence":0,"stable_sequence":0,)"
        R"("checkpoint_sequence":0,"log_bytes_used":0,"log_bytes_total":0,)"
        R"("blocks_read":0,"blocks_verified":0,"mismatches":0,"blocks_healed":0,)"
        R"("tables_repaired":0,"log_blocks_healed":0,"read_errors":0,"write_errors":0,)"
        R"("healed_by_cause":{"bit_rot":0,"lost_write":0,"misdirected":0,"torn":0,)"
        R"("unreadable":0},"last_event":null,"last_event_s":null,"free_bytes":null}]})");
}

TEST(VolumeStatusJson, SurvivesTextThatIsNotUtf8) {
    VolumeStatus status = example_status();
    status.report.members[0].path = "/srv/\xff\xfe";
    EXPECT_TRUE(parse_volume_status(volume_status_json(status)).ok());
}

TEST(VolumeStatusJson, RefusesWhatIsMalformed) {
    const std::string good = volume_status_json(example_status());
    EXPECT_FALSE(parse_volume_status("").ok());
    EXPECT_FALSE(parse_volume_status("[]").ok());
    EXPECT_FALSE(parse_volume_status("{}").ok());
    EXPECT_FALSE(parse_volume_status(good.substr(0, good.size() - 1)).ok());
    const auto with = [&good](const std::string& from, const std::string& to) {
        return std::string(good).replace(good.find(from), from.size(), to);
    };
    EXPECT_FALSE(parse_volume_status(with("\"size\":1073741824", "\"size\":-1")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"size\":1073741824", "\"size\":1.5")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"epoch\":3", "\"epoch\":\"3\"")).ok());
    EXPECT_FALSE(parse_volume_status(with("01000000", "0100000")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"members\":[", "\"members\":[7,")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"cause\":\"bit_rot\"", "\"cause\":\"x\"")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"member\":1", "\"member\":2")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"why\":null", "\"why\":7")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"base_sequence\":21", "\"base_sequence\":-1")).ok());
    EXPECT_FALSE(parse_volume_status(with("\"base_epoch\":\"0", "\"base_epoch\":\"x")).ok());
}

TEST(VolumeStatusJson, OfAnOlderServerLacksWhatIsNew) {
    VolumeStatus status = example_status();
    status.report.resync = {};
    status.report.resync_member.clear();
    for (mirror::MemberReport& member : status.report.members) {
        member.why.clear();
        member.configured.clear();
        member.resync.reset();
    }
    const std::string without = volume_status_json(status);
    nlohmann::ordered_json json = nlohmann::ordered_json::parse(without);
    json.erase("resync");
    for (auto& member : json["members"]) {
        for (const char* key : {"why", "released", "configured", "resync"}) member.erase(key);
    }
    const Outcome<VolumeStatus> parsed = parse_volume_status(json.dump());
    ASSERT_TRUE(parsed.ok()) << parsed.error().text;
    EXPECT_EQ(volume_status_json(parsed.value()), without);
}

TEST(VolumeStatusJson, HasNoReasonForAMemberThatIsInSync) {
    VolumeStatus status = example_status();
    status.report.members[1].why = "was away";
    const auto json = nlohmann::json::parse(volume_status_json(status));
    EXPECT_TRUE(json["members"][1]["why"].is_null());
    EXPECT_THAT(status_table(status), Not(HasSubstr("was away")));
}

TEST(StatusDocument, IsVersioned) {
    EXPECT_THAT(status_document_json({example_status()}), HasSubstr("\"schema\": 1"));
    EXPECT_EQ(status_document_json({}), "{\n  \"schema\": 1,\n  \"volumes\": []\n}\n");
}

TEST(StatusTable, ShowsWhatAnOperatorNeeds) {
    const std::string table = status_table(example_status());
    for (const char* part : {"vol", "stopped", "a.img: I/O error", "1 GiB", "epoch 3", "pid 77",
                             "unix:/srv/vol.nbd.sock", "/srv/a.img", "failed", "in-sync",
                             "50% of 2 MiB", "/dev/sdx", "ENOSPC"}) {
        EXPECT_THAT(table, HasSubstr(part));
    }
}

TEST(StatusTable, TellsWhatHappenedToMembers) {
    const std::string table = status_table(example_status());
    EXPECT_THAT(table, HasSubstr("bit_rot 6, lost_write 7, misdirected 8, torn 9, unreadable 10, "
                                 "4 tables, 5 in the log"));
    EXPECT_THAT(table, HasSubstr("2023-11-14 22:13:20 UTC, healed"));
    VolumeStatus status = example_status();
    status.report.members[0].last_event.clear();
    EXPECT_THAT(status_table(status), Not(HasSubstr("LAST EVENT")));
}

TEST(StatusTable, SaysWhatIsTheMatterWithMembers) {
    VolumeStatus status = example_status();
    const std::string table = status_table(status);
    EXPECT_THAT(table, HasSubstr("  MEMBER      STATE   WHY\n"
                                 "  /srv/a.img  failed  no progress: timed out\n"
                                 "  /srv/a.img          has all up to write 21; "));
    EXPECT_THAT(table, HasSubstr("/srv/a.img: 42 of 41 pages done, 44 blocks copied, about 47 s"));
    status.report.members[0].state = "in-sync";
    status.report.members[0].resync.reset();
    status.report.resync_member.clear();
    EXPECT_THAT(status_table(status), Not(HasSubstr("WHY")));
    EXPECT_THAT(status_table(status), Not(HasSubstr("blocks copied")));
}

TEST(StatusTable, SaysWhatMembersAreConfiguredAs) {
    VolumeStatus status = example_status();
    status.server.reset();
    status.report.state = "not-served";
    status.report.members[1].path.clear();
    const std::string table = status_table(status);
    EXPECT_THAT(table, HasSubstr("  /srv/a.img  failed   behind      02000000-"));
    EXPECT_THAT(table, HasSubstr("  -           in-sync  -           03000000-"));
    EXPECT_THAT(table, HasSubstr("no progress"));
}

TEST(StatusTable, SaysWhatWasFoundAndWhere) {
    const std::string table = status_table(example_status());
    EXPECT_THAT(table, HasSubstr("bit_rot: 3 blocks of /srv/a.img: 26+1 28+2\n"));
    EXPECT_THAT(table, HasSubstr("unreadable: 25 blocks of /dev/sdx: 30+25\n"));
}

TEST(ScrubSummary, HasExactRangesByCause) {
    EXPECT_EQ(scrub_summary(example_status().report),
              "scrubbed vol: 17 blocks checked, 18 blocks, 19 tables and 20 logs healed, 3 blocks "
              "unrecoverable\n"
              "  bit_rot: 3 blocks of /srv/a.img: 26+1 28+2\n"
              "  unreadable: 25 blocks of /dev/sdx: 30+25\n"
              "  unrecoverable: 3 blocks: 7+3\n"
              "  and 87 damaged blocks more\n");
}

TEST(StatusTable, SaysThatNobodyServes) {
    VolumeStatus status = example_status();
    status.server.reset();
    status.report.state = "not-served";
    status.report.stopped_because.clear();
    const std::string table = status_table(status);
    EXPECT_THAT(table, HasSubstr("not-served"));
    EXPECT_THAT(table, Not(HasSubstr("requests")));
}

TEST(StatusTable, KeepsHostileTextOnItsLine) {
    VolumeStatus status = example_status();
    status.report.stopped_because = "x\nroot  serving\x1b[2J";
    const std::string table = status_table(status);
    EXPECT_THAT(table, HasSubstr("x\\x0aroot  serving\\x1b[2J"));
}

TEST(PlainText, EscapesControlCharactersOnly) {
    EXPECT_EQ(plain_text("a b \xc3\xa4"), "a b \xc3\xa4");
    EXPECT_EQ(plain_text("\x01\x7f\r\n"), "\\x01\\x7f\\x0d\\x0a");
    EXPECT_EQ(plain_text("\xc2\x9b"), "\\xc2\x9b");
    EXPECT_EQ(plain_text("\xc2\xa0"), "\xc2\xa0");
}

TEST(TextTable, AlignsItsColumns) {
    EXPECT_EQ(text_table({{"A", "N"}, {"long", "1"}, {"x", "100"}}, {false, true}, 1),
              " A       N\n long    1\n x     100\n");
}

}  // namespace
}  // namespace gemel::tools
