// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/member_look.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blockdev/inspect.h"

namespace gemel::tools {

using blockdev::SuperblockReading;
using mirror::VolumeDescription;

namespace {

// What is there is not a member of the volume: as good as nothing.
void refuse(MemberLook& look, std::string text) {
    look.superblock.reset();
    look.problem = {Errc::invalid, std::move(text)};
}

}  // namespace

Task<MemberLook> look_at_member(Env& env, const VolumeDescription& volume, size_t index) {
    MemberLook look;
    look.path = volume.members[index].path;
    look.uuid = volume.members[index].uuid;
    Outcome<std::unique_ptr<Disk>> disk = env.open_disk(look.path, DiskOptions{.read_only = true});
    if (!disk.ok()) {
        look.problem = disk.error();
        co_return look;
    }
    Outcome<SuperblockReading> reading = co_await blockdev::read_superblocks(*disk.value());
    if (!reading.ok()) {
        look.problem = reading.error();
        co_return look;
    }
    look.superblock = std::move(reading.value().superblock);
    if (look.superblock->volume != volume.uuid) {
        refuse(look, fmt::format("{} is a member of another volume", look.path));
        co_return look;
    }
    const Uuid own = look.superblock->member;
    const bool listed = std::any_of(volume.members.begin(), volume.members.end(),
                                    [&own](const auto& member) { return member.uuid == own; });
    if (!listed) {
        refuse(look, fmt::format("{} is another member ({}) of the volume than the volume file "
                                 "lists",
                                 look.path, own.text()));
        co_return look;
    }
    look.uuid = own;
    look.health = co_await blockdev::read_health(*disk.value(), own);
    co_return look;
}

Task<void> look_at_log(Env& env, MemberLook& look) {
    Outcome<std::unique_ptr<Disk>> disk = env.open_disk(look.path, DiskOptions{.read_only = true});
    if (!disk.ok()) co_return;
    const Result<uint64_t> end = co_await blockdev::last_logged(*disk.value(), *look.superblock);
    if (end.ok()) look.log_end = end.value();
}

}  // namespace gemel::tools
