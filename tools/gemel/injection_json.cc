// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/injection_json.h"

#include <nlohmann/json.hpp>

#include "blockdev/layout.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

namespace {

using Json = nlohmann::ordered_json;
using blockdev::Damage;
using blockdev::Place;
using blockdev::Structure;

std::string text_of(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

// Which part of its structure the place is, in that structure's terms.
void add_place(Json& json, const Place& place) {
    switch (place.structure) {
        case Structure::data: json["block"] = place.number; break;
        case Structure::index: json["level"] = place.level; [[fallthrough]];
        case Structure::checksum:
            json["page"] = place.number;
            json["slot"] = place.slot;
            break;
        case Structure::log:
            json["ring_offset"] = place.offset - blockdev::kLogOffset;
            json["first_sequence"] = place.number;
            json["part"] = place.is_batch_header ? "header" : "payload";
            break;
        case Structure::superblock: json["copy"] = place.number == 0 ? "A" : "B"; break;
    }
}

Json damage_json(const Damage& damage) {
    Json json = {{"event", damage.event},
                 {"structure", blockdev::name(damage.place.structure)},
                 {"kind", blockdev::name(damage.kind)},
                 {"offset", damage.offset},
                 {"length", damage.length}};
    add_place(json, damage.place);
    if (damage.bit) json["bit"] = *damage.bit;
    if (damage.partner) {
        Json partner = {{"offset", damage.partner->offset}};
        add_place(partner, *damage.partner);
        json["partner"] = partner;
    }
    return json;
}

}  // namespace

std::string injection_json(const std::string& path, const blockdev::InjectOptions& options,
                           const blockdev::Injection& injection) {
    Json damages = Json::array();
    for (const Damage& damage : injection.damages) damages.push_back(damage_json(damage));
    return text_of({{"schema", kJsonSchema},
                    {"path", path},
                    {"member_uuid", injection.member.text()},
                    {"volume_uuid", injection.volume.text()},
                    {"into", options.into ? blockdev::name(*options.into) : "any"},
                    {"kind", blockdev::name(options.kind)},
                    {"seed", options.seed},
                    {"count", options.count},
                    {"events", injection.events},
                    {"fewer_than_asked", injection.events < options.count},
                    {"damages", damages}});
}

std::string recording_json(const std::string& path, const std::string& recording,
                           const blockdev::RecordingSummary& summary) {
    return text_of({{"schema", kJsonSchema},
                    {"path", path},
                    {"member_uuid", summary.member.text()},
                    {"volume_uuid", summary.volume.text()},
                    {"remembered_in", recording},
                    {"length", summary.length},
                    {"bytes_written", summary.bytes_written}});
}

}  // namespace gemel::tools
