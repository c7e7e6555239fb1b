// SPDX-License-Identifier: Apache-2.0
//
// gemel member offline|online: has the server of a volume take a member out, or bring it back.
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

// Where the server of the volume listens, and which of its members is meant.
struct Target {
    std::string name;
    std::string given;  // What the operator called the volume.
    std::string socket;
    std::string member;  // As the volume file has it.
};

Target find_target(const MemberArguments& arguments) {
    const std::string file =
        value_or_throw(resolve_volume_file(arguments.volume, arguments.folder));
    const mirror::VolumeDescription volume = value_or_throw(read_volume_file(file));
    const std::string absolute = absolute_path(arguments.member);
    for (const mirror::MemberDescription& member : volume.members) {
        if (member.path != absolute && member.uuid.text() != arguments.member) continue;
        return {volume.name, arguments.volume,
                volume_paths(folder_of(file), volume.name).control_socket, member.path};
    }
    throw Failure(
        fmt::format("{} has no member {}; {} lists them", volume.name, arguments.member, file));
}

const mirror::MemberReport& member_in(const VolumeStatus& status, const Target& target) {
    for (const mirror::MemberReport& member : status.report.members) {
        if (member.path == target.member) return member;
    }
    throw Failure(fmt::format("{} is no member of {} any more", target.member, target.name));
}

// One line, drawn over itself: a bar, what was done, the rate, the time that is left.
void draw_progress(const VolumeStatus& status, const Target& target) {
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

void print_summary(const mirror::ResyncReport& resync, const Target& target) {
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

int wait_until_online(const Target& target) {
    while (true) {
        const VolumeStatus status = answer_or_throw(ask_status(target.socket), target.given);
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

int wait_until_released(const Target& target) {
    while (true) {
        const VolumeStatus status = answer_or_throw(ask_status(target.socket), target.given);
        throw_if_stopped(status);
        const mirror::MemberReport& member = member_in(status, target);
        if (member.state != "offline") {
            throw Failure(fmt::format("{} is {} again", target.member, member.state));
        }
        if (member.released) return kDone;
        pause_before_next_look();
    }
}

}  // namespace

int run_member(const MemberArguments& arguments) {
    const Target target = find_target(arguments);
    const bool online = arguments.action == MemberAction::online;
    const VolumeStatus before = answer_or_throw(ask_status(target.socket), target.given);
    if (online && member_in(before, target).state == "in-sync") {
        fmt::print("{} is in sync already\n", target.member);
        return kDone;
    }
    answer_or_throw(ask_member(target.socket, online, target.member), target.given);
    if (arguments.wait && online) return wait_until_online(target);
    if (arguments.wait) wait_until_released(target);
    if (online) {
        fmt::print("bringing {} back; 'gemel status {}' shows how far it is\n", target.member,
                   target.given);
    } else {
        fmt::print("{} is offline; 'gemel member online {} {}' brings it back\n", target.member,
                   target.given, target.member);
    }
    return kDone;
}

}  // namespace gemel::tools
