// SPDX-License-Identifier: Apache-2.0
//
// The status as JSON and back. The format is documented in docs/json.md: a key may be added, none
// may change its meaning without a new schema number.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/gemel/member_words.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

namespace {

using Json = nlohmann::ordered_json;
using mirror::MemberReport;
using mirror::VolumeReport;

// One table for both directions, so that they cannot drift apart.
struct MemberCounter {
    const char* key;
    uint64_t MemberReport::* field;
};
constexpr MemberCounter kMemberCounters[] = {
    {"logged_sequence", &MemberReport::logged_sequence},
    {"stable_sequence", &MemberReport::stable_sequence},
    {"checkpoint_sequence", &MemberReport::checkpoint_sequence},
    {"log_bytes_used", &MemberReport::log_bytes_used},
    {"log_bytes_total", &MemberReport::log_bytes_total},
    {"blocks_read", &MemberReport::blocks_read},
    {"blocks_verified", &MemberReport::blocks_verified},
    {"mismatches", &MemberReport::mismatches},
    {"blocks_healed", &MemberReport::blocks_healed},
    {"tables_repaired", &MemberReport::tables_repaired},
    {"log_blocks_healed", &MemberReport::log_blocks_healed},
    {"read_errors", &MemberReport::read_errors},
    {"write_errors", &MemberReport::write_errors},
};

struct VolumeCounter {
    const char* key;
    uint64_t VolumeReport::* field;
};
constexpr VolumeCounter kVolumeCounters[] = {
    {"reads", &VolumeReport::reads},           {"writes", &VolumeReport::writes},
    {"flushes", &VolumeReport::flushes},       {"trims", &VolumeReport::trims},
    {"bytes_read", &VolumeReport::bytes_read}, {"bytes_written", &VolumeReport::bytes_written},
    {"batches", &VolumeReport::batches},       {"checkpoints", &VolumeReport::checkpoints},
};

struct ScrubCounter {
    const char* key;
    uint64_t mirror::ScrubReport::* field;
};
constexpr ScrubCounter kScrubCounters[] = {
    {"next_page", &mirror::ScrubReport::next_page},
    {"pages", &mirror::ScrubReport::pages},
    {"started_s", &mirror::ScrubReport::started_s},
    {"finished_s", &mirror::ScrubReport::finished_s},
    {"passes", &mirror::ScrubReport::passes},
    {"remaining_s", &mirror::ScrubReport::remaining_s},
    {"blocks_checked", &mirror::ScrubReport::blocks_checked},
    {"blocks_healed", &mirror::ScrubReport::blocks_healed},
    {"tables_repaired", &mirror::ScrubReport::tables_repaired},
    {"logs_healed", &mirror::ScrubReport::logs_healed},
};

struct ResyncCounter {
    const char* key;
    uint64_t mirror::ResyncReport::* field;
};
constexpr ResyncCounter kResyncCounters[] = {
    {"pages", &mirror::ResyncReport::pages},
    {"pages_done", &mirror::ResyncReport::pages_done},
    {"blocks_compared", &mirror::ResyncReport::blocks_compared},
    {"blocks_copied", &mirror::ResyncReport::blocks_copied},
    {"blocks_zeroed", &mirror::ResyncReport::blocks_zeroed},
    {"blocks_unrecoverable", &mirror::ResyncReport::blocks_unrecoverable},
    {"remaining_s", &mirror::ResyncReport::remaining_s},
};

// Of the unrecoverable or damaged blocks; a disk that is beyond help has too many to list.
constexpr size_t kListedRangesMax = 1000;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string text_or_empty(const Json& json) {
    return json.is_null() ? std::string() : json.get<std::string>();
}

Json member_json(const MemberReport& member) {
    Json json;
    json["uuid"] = member.uuid.text();
    json["path"] = member.path;
    json["state"] = member.state;
    json["why"] = needs_reason(member) ? text_or_null(member.why) : Json();
    json["released"] = member.released;
    json["configured"] = text_or_null(member.configured);
    json["spare"] = member.is_spare;
    json["replaces"] = text_or_null(member.replaces);
    json["resync"] = resync_json(member.resync);
    json["direct"] = member.direct;
    for (const auto& [key, field] : kMemberCounters) json[key] = member.*field;
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        json["healed_by_cause"][mirror::kDamageCauseNames[i]] = member.damage[i];
    }
    json["last_event"] = text_or_null(member.last_event);
    json["last_event_s"] = member.last_event_s == 0 ? Json() : Json(member.last_event_s);
    json["free_bytes"] = member.free_bytes == UINT64_MAX ? Json() : Json(member.free_bytes);
    return json;
}

Json server_json(const std::optional<ServerFacts>& server) {
    if (!server) return {};
    return {{"pid", server->pid},
            {"version", server->version},
            {"uptime_s", server->uptime_s},
            {"addresses", server->addresses}};
}

Json scrub_json(const mirror::ScrubReport& scrub) {
    Json json;
    json["running"] = scrub.running;
    for (const auto& [key, field] : kScrubCounters) json[key] = scrub.*field;
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        json["found"][mirror::kDamageCauseNames[i]] = scrub.found[i];
    }
    json["damage"] = Json::array();
    for (const mirror::DamagedRange& range : scrub.damage) {
        if (json["damage"].size() >= kListedRangesMax) break;
        json["damage"].push_back(
            {{"member", range.member},
             {"cause", mirror::kDamageCauseNames[static_cast<size_t>(range.cause)]},
             {"first_block", range.blocks.first},
             {"blocks", range.blocks.count}});
    }
    return json;
}

Json live_resync_json(const VolumeReport& report) {
    Json json;
    json["running"] = report.resync.running;
    json["member"] = text_or_null(report.resync_member);
    for (const auto& [key, field] : kResyncCounters) json[key] = report.resync.*field;
    return json;
}

Json to_json(const VolumeStatus& status) {
    const VolumeReport& report = status.report;
    Json json;
    json["name"] = report.name;
    json["file"] = text_or_null(status.file);
    json["uuid"] = report.uuid.text();
    json["state"] = report.state;
    json["stopped_because"] = text_or_null(report.stopped_because);
    json["problem"] = text_or_null(status.problem);
    json["size"] = report.size;
    json["layout"] = report.layout;
    json["consistency"] = report.consistency;
    json["epoch"] = report.epoch;
    json["commit_sequence"] = report.commit_sequence;
    json["stable_sequence"] = report.stable_sequence;
    json["short_of_space"] = report.short_of_space;
    json["server"] = server_json(status.server);
    for (const auto& [key, field] : kVolumeCounters) json["counters"][key] = report.*field;
    json["unrecoverable_blocks"] = report.unrecoverable_blocks;
    json["unrecoverable"] = Json::array();
    for (const mirror::BlockRange& range : report.unrecoverable) {
        if (json["unrecoverable"].size() >= kListedRangesMax) break;
        json["unrecoverable"].push_back({{"first_block", range.first}, {"blocks", range.count}});
    }
    json["scrub"] = scrub_json(report.scrub);
    json["resync"] = live_resync_json(report);
    json["members"] = Json::array();
    for (const MemberReport& member : report.members)
        json["members"].push_back(member_json(member));
    return json;
}

Uuid parse_uuid(const Json& json) {
    const std::optional<Uuid> uuid = Uuid::parse(json.get<std::string>());
    if (!uuid) throw std::invalid_argument("a malformed uuid");
    return *uuid;
}

// get<uint64_t>() would turn -1 and 1.5 into numbers.
uint64_t parse_count(const Json& json) {
    if (!json.is_number_unsigned()) throw std::invalid_argument("a counter that is no count");
    return json.get<uint64_t>();
}

mirror::DamageCause parse_cause(const std::string& name) {
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        if (name == mirror::kDamageCauseNames[i]) return static_cast<mirror::DamageCause>(i);
    }
    throw std::invalid_argument("an unknown cause of damage");
}

// A server that runs since before an upgrade does not know the keys that came with it.
const Json& added(const Json& json, const char* key) {
    static const Json kNone;
    const auto found = json.find(key);
    return found == json.end() ? kNone : *found;
}

bool added_mark(const Json& json, const char* key) {
    const Json& mark = added(json, key);
    return !mark.is_null() && mark.get<bool>();
}

MemberReport parse_member(const Json& json) {
    MemberReport member;
    member.uuid = parse_uuid(json.at("uuid"));
    member.path = json.at("path").get<std::string>();
    member.state = json.at("state").get<std::string>();
    member.why = text_or_empty(added(json, "why"));
    member.released = added_mark(json, "released");
    member.is_spare = added_mark(json, "spare");
    member.replaces = text_or_empty(added(json, "replaces"));
    member.configured = text_or_empty(added(json, "configured"));
    member.resync = parse_resync(added(json, "resync"));
    member.direct = json.at("direct").get<bool>();
    for (const auto& [key, field] : kMemberCounters) member.*field = parse_count(json.at(key));
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        member.damage[i] = parse_count(json.at("healed_by_cause").at(mirror::kDamageCauseNames[i]));
    }
    member.last_event = text_or_empty(json.at("last_event"));
    const Json& last_event_s = json.at("last_event_s");
    if (!last_event_s.is_null()) member.last_event_s = parse_count(last_event_s);
    const Json& free_bytes = json.at("free_bytes");
    if (!free_bytes.is_null()) member.free_bytes = parse_count(free_bytes);
    return member;
}

mirror::ScrubReport parse_scrub(const Json& json) {
    mirror::ScrubReport scrub;
    scrub.running = json.at("running").get<bool>();
    for (const auto& [key, field] : kScrubCounters) scrub.*field = parse_count(json.at(key));
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        scrub.found[i] = parse_count(json.at("found").at(mirror::kDamageCauseNames[i]));
    }
    for (const Json& range : json.at("damage")) {
        mirror::DamagedRange damaged;
        damaged.member = parse_count(range.at("member"));
        damaged.cause = parse_cause(range.at("cause").get<std::string>());
        damaged.blocks = {parse_count(range.at("first_block")), parse_count(range.at("blocks"))};
        scrub.damage.push_back(damaged);
    }
    return scrub;
}

void parse_live_resync(const Json& json, VolumeReport& report) {
    if (json.is_null()) return;
    report.resync.running = json.at("running").get<bool>();
    report.resync_member = text_or_empty(json.at("member"));
    for (const auto& [key, field] : kResyncCounters) {
        report.resync.*field = parse_count(json.at(key));
    }
}

std::optional<ServerFacts> parse_server(const Json& json) {
    if (json.is_null()) return std::nullopt;
    return ServerFacts{parse_count(json.at("pid")), json.at("version").get<std::string>(),
                       parse_count(json.at("uptime_s")),
                       json.at("addresses").get<std::vector<std::string>>()};
}

VolumeStatus from_json(const Json& json) {
    VolumeStatus status;
    VolumeReport& report = status.report;
    report.name = json.at("name").get<std::string>();
    status.file = text_or_empty(json.at("file"));
    report.uuid = parse_uuid(json.at("uuid"));
    report.state = json.at("state").get<std::string>();
    report.stopped_because = text_or_empty(json.at("stopped_because"));
    status.problem = text_or_empty(json.at("problem"));
    report.size = parse_count(json.at("size"));
    report.layout = json.at("layout").get<std::string>();
    report.consistency = json.at("consistency").get<std::string>();
    report.epoch = parse_count(json.at("epoch"));
    report.commit_sequence = parse_count(json.at("commit_sequence"));
    report.stable_sequence = parse_count(json.at("stable_sequence"));
    report.short_of_space = json.at("short_of_space").get<bool>();
    status.server = parse_server(json.at("server"));
    const Json& counters = json.at("counters");
    for (const auto& [key, field] : kVolumeCounters) report.*field = parse_count(counters.at(key));
    report.unrecoverable_blocks = parse_count(json.at("unrecoverable_blocks"));
    for (const Json& range : json.at("unrecoverable")) {
        report.unrecoverable.push_back(
            {parse_count(range.at("first_block")), parse_count(range.at("blocks"))});
    }
    report.scrub = parse_scrub(json.at("scrub"));
    parse_live_resync(added(json, "resync"), report);
    for (const Json& member : json.at("members")) report.members.push_back(parse_member(member));
    for (const mirror::DamagedRange& range : report.scrub.damage) {
        if (range.member >= report.members.size()) throw std::invalid_argument("no such member");
    }
    return status;
}

std::string dump(const Json& json, int indent) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string volume_status_json(const VolumeStatus& status) { return dump(to_json(status), -1); }

std::string status_document_json(const std::vector<VolumeStatus>& volumes) {
    Json document = {{"schema", kJsonSchema}, {"volumes", Json::array()}};
    for (const VolumeStatus& status : volumes) document["volumes"].push_back(to_json(status));
    return dump(document, 2) + '\n';
}

Outcome<VolumeStatus> parse_volume_status(std::string_view text) {
    try {
        return from_json(Json::parse(text));
    } catch (const std::exception& error) {
        return Problem{Errc::corrupt,
                       fmt::format("the answer is not a volume's status: {}", error.what())};
    }
}

}  // namespace gemel::tools
