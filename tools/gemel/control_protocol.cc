// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/control_protocol.h"

#include <nlohmann/json.hpp>

namespace gemel::tools {

namespace {

using Json = nlohmann::json;

struct Command {
    ControlCommand command;
    const char* name;
    bool about_member;
};
constexpr Command kCommands[] = {
    {ControlCommand::status, "status", false},
    {ControlCommand::scrub, "scrub", false},
    {ControlCommand::member_offline, "member-offline", true},
    {ControlCommand::member_online, "member-online", true},
};

// Discarded, as the library calls it, if `text` is not JSON.
Json parse_json(std::string_view text) { return Json::parse(text, nullptr, false); }

std::string one_line(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
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
        if (*command != known.name) continue;
        ControlRequest request{known.command, ""};
        if (!known.about_member) return request;
        const auto member = json.find("member");
        if (member == json.end() || !member->is_string()) {
            return Problem{Errc::invalid, std::string(known.name) + " needs a \"member\""};
        }
        request.member = member->get<std::string>();
        return request;
    }
    return Problem{Errc::unsupported, "unknown command"};
}

std::string render_control_request(const ControlRequest& request) {
    Json json;
    for (const Command& known : kCommands) {
        if (known.command != request.command) continue;
        json["command"] = known.name;
        if (known.about_member) json["member"] = request.member;
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
