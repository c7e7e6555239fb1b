// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/unserved.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "blockdev/health_record.h"
#include "blockdev/layout.h"
#include "blockdev/superblock.h"
#include "tools/gemel/run_task.h"

namespace gemel::tools {

namespace {

using blockdev::Superblock;
using blockdev::SuperblockReading;

struct Look {
    std::unique_ptr<Superblock> superblock;  // Null: `problem` says why.
    blockdev::MemberHealth health;
    Problem problem;
};

Task<Outcome<Look>> read_member(Env& env, std::string path) {
    DiskOptions options;
    options.read_only = true;
    Outcome<std::unique_ptr<Disk>> disk = env.open_disk(path, options);
    if (!disk.ok()) co_return disk.error();
    Outcome<SuperblockReading> reading = co_await blockdev::read_superblocks(*disk.value());
    if (!reading.ok()) co_return reading.error();
    Look look;
    look.superblock = std::move(reading.value().superblock);
    look.health = co_await blockdev::read_health(*disk.value(), look.superblock->member);
    co_return look;
}

Look refused(Errc code, std::string text) {
    Look look;
    look.problem = {code, std::move(text)};
    return look;
}

// Members are known by their UUIDs: one that lies where another is listed is no problem.
Look look_at(UringEnv& env, const mirror::VolumeDescription& volume, const std::string& path) {
    Outcome<Look> found = run_task(env, read_member(env, path));
    if (!found.ok()) return refused(found.error().code, found.error().text);
    const Superblock& superblock = *found.value().superblock;
    if (superblock.volume != volume.uuid) {
        return refused(Errc::invalid, fmt::format("{} is a member of another volume", path));
    }
    const bool listed =
        std::any_of(volume.members.begin(), volume.members.end(),
                    [&](const auto& member) { return member.uuid == superblock.member; });
    if (!listed) {
        return refused(Errc::invalid,
                       fmt::format("{} is another member ({}) of the volume than the volume file "
                                   "lists",
                                   path, superblock.member.text()));
    }
    return std::move(found).value();
}

std::pair<uint64_t, uint64_t> age(const Superblock& superblock) {
    return {superblock.configuration.epoch.number, superblock.configuration.version};
}

const Superblock* newest_of(const std::vector<Look>& looks) {
    const Superblock* newest = nullptr;
    for (const Look& look : looks) {
        const Superblock* superblock = look.superblock.get();
        if (superblock == nullptr) continue;
        if (newest == nullptr || age(*superblock) > age(*newest)) newest = superblock;
    }
    return newest;
}

std::string state_of(const Look& look, const Superblock* newest) {
    if (look.superblock == nullptr) {
        return look.problem.code == Errc::not_found ? "missing" : "failed";
    }
    return age(*look.superblock) == age(*newest) ? "in-sync" : "behind";
}

void fill_in(mirror::MemberReport& member, const Look& look) {
    const Superblock& superblock = *look.superblock;
    const blockdev::MemberHealth& health = look.health;
    member.uuid = superblock.member;
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
}

// What concerns the whole volume stands on every member; the one that has seen most counts.
void fill_in_losses(mirror::VolumeReport& report, const std::vector<Look>& looks) {
    mirror::BlockSet lost;
    for (const Look& look : looks) {
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
        report.scrub.pages = blockdev::from_record(look.superblock->geometry).volume_pages();
    }
    report.unrecoverable_blocks = lost.size();
    report.unrecoverable = lost.ranges();
}

}  // namespace

VolumeStatus unserved_status(const mirror::VolumeDescription& description,
                             const std::string& file) {
    const std::unique_ptr<UringEnv> env = make_env();
    std::vector<Look> looks;
    for (const mirror::MemberDescription& member : description.members) {
        looks.push_back(look_at(*env, description, member.path));
    }
    const Superblock* newest = newest_of(looks);
    VolumeStatus status;
    status.file = file;
    mirror::VolumeReport& report = status.report;
    report.name = description.name;
    report.uuid = description.uuid;
    report.size = description.size;
    report.state = "not-served";
    if (newest != nullptr) {
        report.size = newest->geometry.volume_size;
        report.epoch = newest->configuration.epoch.number;
    }
    for (size_t i = 0; i < looks.size(); ++i) {
        mirror::MemberReport member;
        member.uuid = description.members[i].uuid;
        member.path = description.members[i].path;
        member.state = state_of(looks[i], newest);
        if (looks[i].superblock != nullptr) {
            fill_in(member, looks[i]);
        } else {
            status.problem += (status.problem.empty() ? "" : "; ") + looks[i].problem.text;
        }
        report.members.push_back(std::move(member));
    }
    fill_in_losses(report, looks);
    return status;
}

}  // namespace gemel::tools
