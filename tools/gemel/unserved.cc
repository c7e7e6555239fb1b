// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/unserved.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "blockdev/layout.h"
#include "mirror/configuration.h"
#include "mirror/start_rules.h"
#include "tools/gemel/member_look.h"
#include "tools/gemel/member_words.h"

namespace gemel::tools {

namespace {

using blockdev::ConfigurationRecord;
using blockdev::Superblock;
using mirror::MemberReport;
using mirror::MemberState;
using mirror::MemberVerdict;
using mirror::StartDecision;
using mirror::WitnessReading;

std::pair<uint64_t, uint64_t> age(const ConfigurationRecord& configuration) {
    return {configuration.epoch.number, configuration.version};
}

const Superblock* newest_of(const std::vector<MemberLook>& looks) {
    const Superblock* newest = nullptr;
    for (const MemberLook& look : looks) {
        const Superblock* superblock = look.superblock.get();
        if (superblock == nullptr) continue;
        const bool newer =
            newest == nullptr || age(superblock->configuration) > age(newest->configuration);
        if (newer) newest = superblock;
    }
    return newest;
}

const blockdev::ConfiguredMember* find(const ConfigurationRecord* configuration,
                                       const Uuid& member) {
    if (configuration == nullptr) return nullptr;
    for (uint32_t i = 0; i < configuration->member_count; ++i) {
        if (configuration->members[i].uuid == member) return &configuration->members[i];
    }
    return nullptr;
}

// What a start would make of the members, as they are now.
Task<Outcome<StartDecision>> judge(Env& env, const std::string& volume,
                                   std::vector<MemberLook>& looks,
                                   const Outcome<WitnessReading>& witness) {
    if (!witness.ok()) co_return witness.error();
    std::vector<mirror::MemberEvidence> present;
    std::vector<mirror::AbsentMember> absent;
    std::vector<size_t> places;
    for (size_t i = 0; i < looks.size(); ++i) {
        const MemberLook& look = looks[i];
        if (look.superblock == nullptr) {
            absent.push_back({look.path, look.uuid, look.problem.text});
            continue;
        }
        present.push_back({look.path, look.superblock.get(), std::nullopt});
        places.push_back(i);
    }
    const mirror::StartCase start{.volume = volume,
                                  .present = present,
                                  .absent = absent,
                                  .witness = witness.value().configuration,
                                  .witness_problem = witness.value().problem};
    if (needs_log_ends(start)) {
        for (size_t i = 0; i < present.size(); ++i) {
            co_await look_at_log(env, looks[places[i]]);
            present[i].log_end = looks[places[i]].log_end;
        }
    }
    co_return decide_start(start);
}

// Without a verdict: what the newest configuration says of it.
void fill_in_state(MemberReport& member, const MemberLook& look,
                   const ConfigurationRecord* newest) {
    const blockdev::ConfiguredMember* configured = find(newest, look.uuid);
    if (look.superblock == nullptr || configured == nullptr) {
        member.state = name(MemberState::missing);
        member.why = look.superblock == nullptr ? look.problem.text
                                                : look.path + ": is not a member of the volume";
        return;
    }
    member.state = configured_name(configured->state);
    const bool knows_it = age(look.superblock->configuration) == age(*newest);
    if (member.state == name(MemberState::in_sync) && !knows_it) {
        member.state = name(MemberState::behind);
        member.why = look.path + ": does not know the newest configuration";
    }
}

void fill_in(MemberReport& member, const MemberVerdict& verdict) {
    member.state = name(verdict.state);
    member.why = verdict.why;
}

void fill_in(MemberReport& member, const MemberLook& look) {
    const Superblock& superblock = *look.superblock;
    const blockdev::MemberHealth& health = look.health;
    member.checkpoint_sequence = superblock.tail.sequence.get() - 1;
    member.log_bytes_total = superblock.geometry.log_size;
    member.blocks_verified = health.blocks_verified;
    member.mismatches = health.mismatches;
    member.blocks_healed = health.blocks_healed;
    member.tables_repaired = health.tables_repaired;
    member.log_blocks_healed = health.log_blocks_healed;
    member.read_errors = health.read_errors;
    member.write_errors = health.write_errors;
    std::copy_n(health.healed_by_cause.begin(), member.damage.size(), member.damage.begin());
    member.last_event = health.last_event;
    member.last_event_s = health.last_event_s;
    member.resync = resync_of(superblock);
}

// What concerns the whole volume stands on every member; the one that has seen most counts.
void fill_in_losses(mirror::VolumeReport& report, const std::vector<MemberLook>& looks) {
    mirror::BlockSet lost;
    for (const MemberLook& look : looks) {
        if (look.superblock == nullptr) continue;
        const blockdev::MemberHealth& health = look.health;
        for (const auto& range : health.unrecoverable) {
            lost.add({range.first_block, range.block_count});
        }
        if (health.scrub_passes < report.scrub.passes) continue;
        report.scrub.passes = health.scrub_passes;
        report.scrub.started_s = health.scrub_started_s;
        report.scrub.finished_s = health.scrub_finished_s;
        report.scrub.next_page = health.scrub_next_page;
        report.scrub.pages = blockdev::layout_of(*look.superblock).volume_pages();
    }
    report.unrecoverable_blocks = lost.size();
    report.unrecoverable = lost.ranges();
}

// The volume file's members, then those that only the configuration knows.
void list_members(mirror::VolumeReport& report, const std::vector<MemberLook>& looks,
                  const Outcome<StartDecision>& decision, const ConfigurationRecord* newest) {
    for (const MemberLook& look : looks) {
        MemberReport& member = report.members.emplace_back();
        member.uuid = look.uuid;
        member.path = look.path;
        if (look.superblock != nullptr) fill_in(member, look);
        fill_in_state(member, look, newest);
    }
    if (decision.ok()) {
        for (const MemberVerdict& verdict : decision.value().members) {
            auto member = std::find_if(report.members.begin(), report.members.end(),
                                       [&](const auto& row) { return row.uuid == verdict.uuid; });
            if (member == report.members.end()) {
                member = report.members.insert(member, MemberReport{});
                member->uuid = verdict.uuid;
            }
            fill_in(*member, verdict);
        }
    }
    for (MemberReport& member : report.members) {
        const blockdev::ConfiguredMember* configured = find(newest, member.uuid);
        if (configured != nullptr) member.configured = configured_name(configured->state);
    }
}

}  // namespace

Task<VolumeStatus> unserved_status(Env& env, mirror::VolumeDescription description,
                                   std::string file) {
    std::vector<MemberLook> looks;
    for (size_t i = 0; i < description.members.size(); ++i) {
        MemberLook look = co_await look_at_member(env, description, i);
        looks.push_back(std::move(look));
    }
    const Outcome<WitnessReading> witness =
        mirror::read_witness(env, description.witness_path, description.uuid);
    const Superblock* newest = newest_of(looks);
    const ConfigurationRecord* configuration = newest ? &newest->configuration : nullptr;
    if (witness.ok() && witness.value().configuration &&
        (newest == nullptr || age(*witness.value().configuration) > age(*configuration))) {
        configuration = &*witness.value().configuration;
    }
    VolumeStatus status;
    status.file = std::move(file);
    mirror::VolumeReport& report = status.report;
    report.name = description.name;
    report.uuid = description.uuid;
    report.size = newest != nullptr ? newest->configuration.volume_size.get() : description.size;
    report.state = "not-served";
    report.epoch = configuration != nullptr ? configuration->epoch.number.get() : 0;
    const Outcome<StartDecision> decision = co_await judge(env, description.name, looks, witness);
    list_members(report, looks, decision, configuration);
    fill_in_losses(report, looks);
    if (!decision.ok()) {
        status.problem = decision.error().text;
        co_return status;
    }
    for (const MemberLook& look : looks) {
        if (look.superblock != nullptr) continue;
        status.problem += (status.problem.empty() ? "" : "; ") + look.problem.text;
    }
    co_return status;
}

}  // namespace gemel::tools
