// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/unserved.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "blockdev/superblock.h"
#include "tools/gemel/run_task.h"

namespace gemel::tools {

namespace {

using blockdev::Superblock;
using blockdev::SuperblockReading;

struct Look {
    std::unique_ptr<Superblock> superblock;  // Null: `problem` says why.
    Problem problem;
};

Task<Outcome<SuperblockReading>> read_superblock(Env& env, std::string path) {
    DiskOptions options;
    options.read_only = true;
    Outcome<std::unique_ptr<Disk>> disk = env.open_disk(path, options);
    if (!disk.ok()) co_return disk.error();
    co_return co_await blockdev::read_superblocks(*disk.value());
}

Look look_at(UringEnv& env, const mirror::VolumeDescription& volume,
             const mirror::MemberDescription& member) {
    Look look;
    Outcome<SuperblockReading> reading = run_task(env, read_superblock(env, member.path));
    if (!reading.ok()) {
        look.problem = reading.error();
    } else if (reading.value().superblock->volume != volume.uuid) {
        look.problem = {Errc::invalid,
                        fmt::format("{} is a member of another volume", member.path)};
    } else if (reading.value().superblock->member != member.uuid) {
        look.problem = {Errc::invalid,
                        fmt::format("{} is another member ({}) of the volume", member.path,
                                    reading.value().superblock->member.text())};
    } else {
        look.superblock = std::move(reading.value().superblock);
    }
    return look;
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

}  // namespace

VolumeStatus unserved_status(const mirror::VolumeDescription& description,
                             const std::string& file) {
    const std::unique_ptr<UringEnv> env = make_env();
    std::vector<Look> looks;
    for (const mirror::MemberDescription& member : description.members) {
        looks.push_back(look_at(*env, description, member));
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
            member.checkpoint_sequence = looks[i].superblock->tail.sequence.get() - 1;
            member.log_bytes_total = looks[i].superblock->geometry.log_size;
        } else {
            status.problem += (status.problem.empty() ? "" : "; ") + looks[i].problem.text;
        }
        report.members.push_back(std::move(member));
    }
    return status;
}

}  // namespace gemel::tools
