// SPDX-License-Identifier: Apache-2.0
//
// Reading the volume file. All of toml++ stays in this file, its exceptions too.
#include "tools/config/volume_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <initializer_list>
#include <set>

#include "tools/config/units.h"
#include "tools/config/volume_name.h"

namespace gemel::tools {

namespace {

using mirror::MemberDescription;
using mirror::VolumeDescription;

constexpr int64_t kSchema = 1;

// A complaint on its way to the operator; never leaves this file.
struct Complaint {
    toml::source_index line = 0;
    std::string text;
};

[[noreturn]] void complain(const toml::node& where, std::string text) {
    throw Complaint{where.source().begin.line, std::move(text)};
}

void check_keys(const toml::table& table, std::initializer_list<std::string_view> known) {
    for (const auto& [key, value] : table) {
        bool is_known = false;
        for (std::string_view name : known) is_known = is_known || key.str() == name;
        if (!is_known) {
            throw Complaint{key.source().begin.line,
                            fmt::format("there is no key '{}'; mend or remove it", key.str())};
        }
    }
}

const toml::node& require(const toml::table& table, std::string_view key) {
    const toml::node* node = table.get(key);
    if (node == nullptr) complain(table, fmt::format("the key '{}' is missing; add it", key));
    return *node;
}

std::string require_text(const toml::table& table, std::string_view key) {
    const toml::node& node = require(table, key);
    const auto* text = node.as_string();
    if (text == nullptr) complain(node, fmt::format("'{}' must be a text in quotes", key));
    return text->get();
}

Uuid require_uuid(const toml::table& table) {
    const std::optional<Uuid> uuid = Uuid::parse(require_text(table, "uuid"));
    if (!uuid || uuid->is_nil()) {
        complain(require(table, "uuid"),
                 "'uuid' must be 32 hexadecimal digits in the form 8-4-4-4-12, as 'gemel inspect' "
                 "prints it");
    }
    return *uuid;
}

std::string require_path(const toml::table& table, std::string_view key,
                         const std::string& folder) {
    const std::string text = require_text(table, key);
    const bool names_a_file = !text.empty() && text.find('\0') == std::string::npos &&
                              text.back() != '/' && text != "." && text != "..";
    if (!names_a_file) complain(require(table, key), fmt::format("'{}' must name a file", key));
    return absolute_path(text, folder);
}

uint64_t require_size(const toml::table& table) {
    const toml::node& node = require(table, "size");
    if (const auto* number = node.as_integer(); number != nullptr) {
        if (number->get() <= 0) complain(node, "'size' must be more than 0");
        return static_cast<uint64_t>(number->get());
    }
    if (const auto* text = node.as_string(); text != nullptr) {
        const Outcome<uint64_t> size = parse_size(text->get());
        if (!size.ok()) complain(node, fmt::format("'size': {}", size.error().text));
        if (size.value() == 0) complain(node, "'size' must be more than 0");
        return size.value();
    }
    complain(node, "'size' must be a number of bytes, or a text such as \"1G\"");
}

MemberDescription read_member(const toml::node& node, const std::string& folder) {
    const toml::table* table = node.as_table();
    if (table == nullptr) complain(node, "each [[member]] must be a table");
    check_keys(*table, {"path", "uuid"});
    return {require_path(*table, "path", folder), require_uuid(*table)};
}

std::vector<MemberDescription> read_members(const toml::table& root, const std::string& folder) {
    const toml::node& node = require(root, "member");
    const toml::array* array = node.as_array();
    if (array == nullptr) complain(node, "members are written as [[member]], in double brackets");
    if (array->size() > kVolumeFileMembersMax) {
        complain(node, fmt::format("more than {} members", kVolumeFileMembersMax));
    }
    std::vector<MemberDescription> members;
    std::set<std::string> paths;
    std::set<Uuid> uuids;
    for (const toml::node& element : *array) {
        MemberDescription member = read_member(element, folder);
        if (!paths.insert(member.path).second) {
            complain(element, fmt::format("the member {} is listed twice", member.path));
        }
        if (!uuids.insert(member.uuid).second) {
            complain(element, fmt::format("the member {} is listed twice", member.uuid.text()));
        }
        members.push_back(std::move(member));
    }
    if (members.empty()) complain(node, "a volume has members");
    return members;
}

VolumeDescription read_root(const toml::table& root, const std::string& folder) {
    // First, so that a newer file is not blamed for its newer keys.
    const toml::node& schema = require(root, "schema");
    const auto* version = schema.as_integer();
    if (version == nullptr || version->get() != kSchema) {
        complain(schema, fmt::format("this gemel reads volume files of schema {} only", kSchema));
    }
    check_keys(root, {"schema", "name", "uuid", "size", "witness", "member"});
    VolumeDescription volume;
    volume.name = require_text(root, "name");
    const Outcome<void> good_name = check_volume_name(volume.name);
    if (!good_name.ok()) complain(require(root, "name"), good_name.error().text);
    volume.uuid = require_uuid(root);
    volume.size = require_size(root);
    volume.witness_path = require_path(root, "witness", folder);
    volume.members = read_members(root, folder);
    return volume;
}

Problem malformed(const std::string& path, toml::source_index line, std::string_view text) {
    return {Errc::invalid, fmt::format("{}, line {}: {}", path, std::max(line, 1u), text)};
}

}  // namespace

Outcome<VolumeDescription> parse_volume_file(std::string_view text, const std::string& path) {
    if (text.size() > kVolumeFileSizeMax) {
        return Problem{Errc::invalid, fmt::format("{} is too long for a volume file", path)};
    }
    try {
        return read_root(toml::parse(text, path), folder_of(path));
    } catch (const toml::parse_error& error) {
        return malformed(path, error.source().begin.line, error.description());
    } catch (const Complaint& complaint) { return malformed(path, complaint.line, complaint.text); }
}

}  // namespace gemel::tools
