// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/print_volume.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "tools/config/units.h"
#include "tools/gemel/plain_text.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

void print_volume(const char* did, const mirror::VolumeDescription& volume, const std::string& file,
                  bool json) {
    if (!json) {
        fmt::print("{} {}: {} mirrored on {} members; volume file {}\n", did, volume.name,
                   readable_size(volume.size), volume.members.size(), plain_text(file));
        return;
    }
    using Json = nlohmann::ordered_json;
    Json document = {
        {"schema", kJsonSchema},   {"name", volume.name}, {"uuid", volume.uuid.text()},
        {"size", volume.size},     {"file", file},        {"witness", volume.witness_path},
        {"members", Json::array()}};
    for (const mirror::MemberDescription& member : volume.members) {
        document["members"].push_back({{"path", member.path}, {"uuid", member.uuid.text()}});
    }
    fmt::print("{}\n", document.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace gemel::tools
