// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/member_words.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "blockdev/superblock.h"

namespace gemel::tools {

using blockdev::ResyncRecord;
using Json = nlohmann::ordered_json;

namespace {

// In the order of blockdev::ConfiguredState.
constexpr std::array<const char*, 5> kConfigured = {"in-sync", "behind", "adding", "offline",
                                                    "spare"};
static_assert(static_cast<size_t>(blockdev::ConfiguredState::spare) == kConfigured.size() - 1);

struct Field {
    const char* key;
    le64 ResyncRecord::* field;
};
constexpr Field kFields[] = {
    {"base_sequence", &ResyncRecord::base_sequence},
    {"covered_sequence", &ResyncRecord::covered_sequence},
    {"cursor_page", &ResyncRecord::cursor_page},
    {"window_begin", &ResyncRecord::window_begin},
    {"window_end", &ResyncRecord::window_end},
};

}  // namespace

std::string configured_name(uint32_t state) {
    return state < kConfigured.size() ? kConfigured[state] : fmt::format("unknown ({})", state);
}

std::optional<ResyncRecord> resync_of(const blockdev::Superblock& superblock) {
    if (!blockdev::is_running(superblock.resync)) return std::nullopt;
    return superblock.resync;
}

std::string resync_text(const ResyncRecord& resync) {
    std::string text = resync.base_sequence == 0
                           ? "has nothing that counts"
                           : fmt::format("has all up to write {}", resync.base_sequence.get());
    if (resync.cursor_page != 0) {
        text += fmt::format("; of pages 0 to {} all up to {}", resync.cursor_page - 1,
                            resync.covered_sequence.get());
    }
    if (resync.window_begin != resync.window_end) {
        text += fmt::format("; pages {} to {} may be half copied", resync.window_begin.get(),
                            resync.window_end - 1);
    }
    return text;
}

Json resync_json(const std::optional<ResyncRecord>& resync) {
    if (!resync) return {};
    Json json;
    json["base_epoch"] = resync->base_epoch.text();
    for (const auto& [key, field] : kFields) json[key] = (*resync.*field).get();
    return json;
}

std::optional<ResyncRecord> parse_resync(const Json& json) {
    if (json.is_null()) return std::nullopt;
    ResyncRecord resync{};
    resync.state = static_cast<uint32_t>(blockdev::ResyncState::running);
    const std::optional<Uuid> epoch = Uuid::parse(json.at("base_epoch").get<std::string>());
    if (!epoch) throw std::invalid_argument("a malformed uuid");
    resync.base_epoch = *epoch;
    for (const auto& [key, field] : kFields) {
        const Json& number = json.at(key);
        if (!number.is_number_unsigned()) throw std::invalid_argument("a counter that is no count");
        resync.*field = number.get<uint64_t>();
    }
    return resync;
}

}  // namespace gemel::tools
