// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/control_protocol.h"

#include <nlohmann/json.hpp>

namespace gemel::tools {

namespace {

using Json = nlohmann::json;

struct Command {
    ControlCommand command;
    const char* name;
    bool member = false;  // Whether it has this text,
    bool path = false;
    bool force = false;  // or may have this mark.
    bool spare = false;
};
constexpr Command kCommands[] = {
    {ControlCommand::status, "status"},
    {ControlCommand::scrub, "scrub"},
    {ControlCommand::member_offline, "member-offline", true},
    {ControlCommand::member_online, "member-online", true},
    {ControlCommand::member_add, "member-add", false, true, true, true},
    {ControlCommand::member_remove, "member-remove", true, false, true},
    {ControlCommand::member_replace, "member-replace", true, true, true},
};

// Discarded, as the library calls it, if `text` is not JSON.
Json parse_json(std::string_view text) { return Json::parse(text, nullptr, false); }

std::string one_line(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

std::optional<Problem> read_text(const Json& json, const Command& command, const char* key,
                                 std::string& out) {
    const auto value = json.find(key);
    if (value == json.end() || !value->is_string()) {
        return Problem{Errc::invalid,
                       std::string(command.name) + " needs a \"" + std::string(key) + "\""};
    }
    out = value->get<std::string>();
    return std::nullopt;
}

std::optional<Problem> read_mark(const Json& json, const char* key, bool& out) {
    const auto value = json.find(key);
    if (value == json.end()) return std::nullopt;
    if (!value->is_boolean()) {
        return Problem{Errc::invalid, "\"" + std::string(key) + "\" is true or false"};
    }
    out = value->get<bool>();
    return std::nullopt;
}

Outcome<ControlRequest> read_request(const Json& json, const Command& command) {
    ControlRequest request;
    request.command = command.command;
    std::optional<Problem> problem;
    if (command.member) problem = read_text(json, command, "member", request.member);
    if (!problem && command.path) problem = read_text(json, command, "path", request.path);
    if (!problem && command.force) problem = read_mark(json, "force", request.force);
    if (!problem && command.spare) problem = read_mark(json, "spare", request.spare);
    if (problem) return *problem;
    return request;
}

}  // namespace

Outcome<ControlRequest> parse_control_request(std::string_view line) {
    const Json json = parse_json(line);
    if (!json.is_object()) return Problem{Errc::invalid, "a request is a JSON object on one line"};
    const auto command = json.find("command");
    if (command == json.end() || !command->is_string()) {
        return Problem{Errc::invalid, "a request has a \"command\""};
    }
    for (const Command& known : kCommands) {
        if (*command == known.name) return read_request(json, known);
    }
    return Problem{Errc::unsupported, "unknown command"};
}

std::string render_control_request(const ControlRequest& request) {
    Json json;
    for (const Command& known : kCommands) {
        if (known.command != request.command) continue;
        json["command"] = known.name;
        if (known.member) json["member"] = request.member;
        if (known.path) json["path"] = request.path;
        if (known.force) json["force"] = request.force;
        if (known.spare) json["spare"] = request.spare;
    }
    return one_line(json);
}

std::string render_status_answer(const VolumeStatus& status) {
    // The status is JSON already; parsing it again only to nest it would cost a second copy.
    return "{\"schema\":" + std::to_string(kJsonSchema) +
           ",\"status\":" + volume_status_json(status) + "}\n";
}

std::string render_error_answer(std::string_view text) {
    return one_line({{"schema", kJsonSchema}, {"error", text}});
}

Outcome<VolumeStatus> parse_status_answer(std::string_view line) {
    const Json answer = parse_json(line);
    if (!answer.is_object()) return Problem{Errc::corrupt, "the answer is not a JSON object"};
    if (answer.contains("error") && answer["error"].is_string()) {
        return Problem{Errc::invalid, answer["error"].get<std::string>()};
    }
    if (!answer.contains("schema") || answer["schema"] != kJsonSchema) {
        return Problem{Errc::unsupported, "the server speaks another version of the protocol"};
    }
    if (!answer.contains("status")) return Problem{Errc::corrupt, "the answer has no status"};
    return parse_volume_status(answer["status"].dump());
}

}  // namespace gemel::tools
