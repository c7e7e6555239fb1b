// SPDX-License-Identifier: Apache-2.0
//
// The inspection as JSON; documented in docs/json.md. The volume's secret stays on the member.
#include <nlohmann/json.hpp>

#include "blockdev/superblock.h"
#include "mirror/damage.h"
#include "tools/gemel/inspection_report.h"
#include "tools/gemel/member_words.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

namespace {

using Json = nlohmann::ordered_json;
using blockdev::MemberInspection;
using blockdev::Superblock;

Json fault_json(const char* fault) { return fault == nullptr ? Json() : Json(fault); }

Json configuration_json(const blockdev::ConfigurationRecord& configuration) {
    Json members = Json::array();
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        const blockdev::ConfiguredMember& member = configuration.members[i];
        members.push_back({{"uuid", member.uuid.text()}, {"state", configured_name(member.state)}});
    }
    return {{"epoch", configuration.epoch.number.get()},
            {"epoch_id", configuration.epoch.id.text()},
            {"version", configuration.version.get()},
            {"consistency", "sync"},
            {"members", members}};
}

Json epochs_json(const Superblock& superblock) {
    Json epochs = Json::array();
    for (uint32_t i = 0; i < superblock.epoch_count; ++i) {
        const blockdev::EpochRecord& epoch = superblock.epochs[i];
        epochs.push_back({{"number", epoch.number.get()},
                          {"id", epoch.id.text()},
                          {"first_sequence", epoch.first_sequence.get()}});
    }
    return epochs;
}

Json extents_json(const blockdev::Layout& layout) {
    Json json;
    for (const Extents& extent : extents_of(layout)) {
        json[extent.structure] = {{"offset", extent.offset}, {"length", extent.length}};
    }
    return json;
}

Json log_json(const MemberInspection& member) {
    return {{"batches", member.log_batches},
            {"writes", member.log_writes},
            {"payload_blocks", member.log_payload_blocks},
            {"bytes", member.log_bytes},
            {"last_sequence", member.log_last_sequence},
            {"stable_point", member.log_stable_point}};
}

Json pages_json(const MemberInspection& member) {
    return {{"data", member.pages_data},
            {"zero", member.pages_zero},
            {"never_written", member.pages_never_written},
            {"unreadable", member.pages_unreadable}};
}

Json health_json(const blockdev::MemberHealth& health) {
    Json causes;
    for (size_t i = 0; i < mirror::kDamageCauses; ++i) {
        causes[mirror::kDamageCauseNames[i]] = health.healed_by_cause[i];
    }
    uint64_t lost = 0;
    Json ranges = Json::array();
    for (const mirror::BlockRange& range : lost_ranges(health)) {
        ranges.push_back({{"first_block", range.first}, {"blocks", range.count}});
        lost += range.count;
    }
    const bool had_event = health.last_event_s != 0;
    return {{"blocks_verified", health.blocks_verified},
            {"mismatches", health.mismatches},
            {"blocks_healed", health.blocks_healed},
            {"tables_repaired", health.tables_repaired},
            {"log_blocks_healed", health.log_blocks_healed},
            {"read_errors", health.read_errors},
            {"write_errors", health.write_errors},
            {"healed_by_cause", causes},
            {"last_event", had_event ? Json(health.last_event) : Json()},
            {"last_event_s", had_event ? Json(health.last_event_s) : Json()},
            {"unrecoverable_blocks", lost},
            {"unrecoverable", ranges},
            {"unrecoverable_is_complete", health.unrecoverable_is_complete},
            {"scrub",
             {{"next_page", health.scrub_next_page},
              {"started_s", health.scrub_started_s},
              {"finished_s", health.scrub_finished_s},
              {"passes", health.scrub_passes}}}};
}

}  // namespace

std::string inspection_json(const MemberInspection& member) {
    const Superblock& superblock = *member.superblock;
    Json json = {{"schema", kJsonSchema},
                 {"path", member.path},
                 {"is_block_device", member.is_block_device},
                 {"size", member.size},
                 {"member_uuid", superblock.member.text()},
                 {"volume_name", blockdev::volume_name(superblock)},
                 {"volume_uuid", superblock.volume.text()},
                 {"volume_size", member.layout.volume_size},
                 {"maximum_size", member.layout.maximum_size},
                 {"log_limit", member.layout.log_limit},
                 {"preallocated", member.layout.preallocated},
                 {"created_s", superblock.created_s.get()},
                 {"format_version", superblock.version.get()},
                 {"minimum_reader", superblock.minimum_reader.get()},
                 {"generation", superblock.generation.get()},
                 {"superblock_a_fault", fault_json(member.superblock_a_fault)},
                 {"superblock_b_fault", fault_json(member.superblock_b_fault)},
                 {"owner_pid", member.owner_pid == 0 ? Json() : Json(member.owner_pid)},
                 {"owner_is_alive", member.owner_is_alive},
                 {"home_offset", member.layout.home_offset},
                 {"home_is_complete", member.home_is_complete},
                 {"loop_command", member.home_is_complete ? Json(loop_command(member)) : Json()}};
    json["layout"] = extents_json(member.layout);
    json["configuration"] = configuration_json(superblock.configuration);
    json["resync"] = resync_json(resync_of(superblock));
    json["epochs"] = epochs_json(superblock);
    json["tail"] = {{"sequence", superblock.tail.sequence.get()},
                    {"ring_offset", superblock.tail.ring_offset.get()}};
    json["root_entries"] = superblock.root_count.get();
    json["log"] = log_json(member);
    json["pages"] = pages_json(member);
    json["health"] = health_json(member.health);
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace gemel::tools
