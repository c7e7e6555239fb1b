// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/member_target.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "tools/config/units.h"
#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/create_checks.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_answer.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

constexpr uint64_t kBlock = 4096;
constexpr int kBarWidth = 30;

// One line, drawn over itself: a bar, what was done, the rate, the time that is left.
void draw_progress(const VolumeStatus& status, const MemberTarget& target) {
    if (isatty(STDERR_FILENO) == 0) return;
    const mirror::ResyncReport& resync = status.report.resync;
    if (status.report.resync_member != target.member || resync.pages == 0) {
        fmt::print(stderr, "\r\033[K{}: {}", target.member, member_in(status, target).state);
        return;
    }
    const auto done = static_cast<int>(resync.pages_done * kBarWidth / resync.pages);
    const uint64_t seconds = std::max<uint64_t>(resync.elapsed_ns / 1'000'000'000, 1);
    fmt::print(stderr, "\r\033[K[{:#<{}}{:.<{}}] {}%  {} copied, {}/s, about {} s to go", "", done,
               "", kBarWidth - done, resync.pages_done * 100 / resync.pages,
               readable_size(resync.blocks_copied * kBlock),
               readable_size(resync.blocks_copied * kBlock / seconds), resync.remaining_s);
}

void end_progress() {
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");
}

void print_summary(const mirror::ResyncReport& resync, const MemberTarget& target) {
    const uint64_t changed =
        resync.blocks_copied + resync.blocks_zeroed + resync.blocks_unrecoverable;
    const uint64_t skipped = resync.blocks_compared - std::min(resync.blocks_compared, changed);
    fmt::print("{} is in sync: {} compared, {} copied, {} marked zero, {} alike", target.member,
               readable_size(resync.blocks_compared * kBlock),
               readable_size(resync.blocks_copied * kBlock),
               readable_size(resync.blocks_zeroed * kBlock), readable_size(skipped * kBlock));
    if (resync.blocks_unrecoverable != 0) {
        fmt::print(", {} blocks unrecoverable", resync.blocks_unrecoverable);
    }
    fmt::print("\n");
}

}  // namespace

VolumeTarget find_volume(const std::string& volume, const std::string& folder) {
    const std::string file = value_or_throw(resolve_volume_file(volume, folder));
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    return {description.name, volume, file,
            volume_paths(folder_of(file), description.name).control_socket, description};
}

MemberTarget find_member(const MemberArguments& arguments) {
    VolumeTarget volume = find_volume(arguments.volume, arguments.folder);
    const std::string absolute = absolute_path(arguments.member);
    for (const mirror::MemberDescription& member : volume.description.members) {
        if (member.path != absolute && member.uuid.text() != arguments.member) continue;
        return {std::move(volume), member.path};
    }
    throw Failure(fmt::format("{} has no member {}; {} lists them", volume.name, arguments.member,
                              volume.file));
}

const mirror::MemberReport* look_for(const VolumeStatus& status, const MemberTarget& target) {
    for (const mirror::MemberReport& member : status.report.members) {
        if (member.path == target.member) return &member;
    }
    return nullptr;
}

const mirror::MemberReport& member_in(const VolumeStatus& status, const MemberTarget& target) {
    if (const mirror::MemberReport* member = look_for(status, target)) return *member;
    throw Failure(fmt::format("{} is no member of {} any more", target.member, target.volume.name));
}

int wait_until_in_sync(const MemberTarget& target) {
    while (true) {
        const VolumeStatus status =
            answer_or_throw(ask_status(target.volume.socket), target.volume.given);
        throw_if_stopped(status);
        const mirror::MemberReport& member = member_in(status, target);
        draw_progress(status, target);
        if (member.state == "in-sync") {
            end_progress();
            print_summary(status.report.resync, target);
            return kDone;
        }
        if (member.state == "offline" || member.state == "diverged") {
            end_progress();
            throw Failure(fmt::format("{} is {}: {}", target.member, member.state, member.why));
        }
        pause_before_next_look();
    }
}

}  // namespace gemel::tools
