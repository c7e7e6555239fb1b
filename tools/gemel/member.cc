// SPDX-License-Identifier: Apache-2.0
//
// gemel member offline|online|add|remove|replace: what the server of a volume is asked to do with
// its members.
#include <fmt/format.h>

#include "tools/gemel/control_client.h"
#include "tools/gemel/create_checks.h"
#include "tools/gemel/member_target.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_answer.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

int wait_until_released(const MemberTarget& target) {
    while (true) {
        const VolumeStatus status =
            answer_or_throw(ask_status(target.volume.socket), target.volume.given);
        throw_if_stopped(status);
        const mirror::MemberReport& member = member_in(status, target);
        if (member.state != "offline") {
            throw Failure(fmt::format("{} is {} again", target.member, member.state));
        }
        if (member.released) return kDone;
        pause_before_next_look();
    }
}

int take_offline(const MemberTarget& target, bool wait) {
    const std::string& given = target.volume.given;
    ControlRequest request{ControlCommand::member_offline};
    request.member = target.member;
    answer_or_throw(ask_member(target.volume.socket, request), given);
    if (wait) wait_until_released(target);
    fmt::print("{} is offline; 'gemel member online {} {}' brings it back\n", target.member, given,
               target.member);
    return kDone;
}

int bring_online(const MemberTarget& target, bool wait) {
    const std::string& given = target.volume.given;
    const VolumeStatus before = answer_or_throw(ask_status(target.volume.socket), given);
    if (member_in(before, target).state == "in-sync") {
        fmt::print("{} is in sync already\n", target.member);
        return kDone;
    }
    ControlRequest request{ControlCommand::member_online};
    request.member = target.member;
    answer_or_throw(ask_member(target.volume.socket, request), given);
    if (wait) return wait_until_in_sync(target);
    fmt::print("bringing {} back; 'gemel status {}' shows how far it is\n", target.member, given);
    return kDone;
}

// The server runs elsewhere: the path must mean the same there.
std::string new_member_path(const std::string& text) {
    if (text.empty()) throw UsageError("a member's path is empty");
    const std::string path = absolute_path(text);
    check_member_paths({path});
    return path;
}

int report_new_one(const VolumeTarget& volume, const std::string& path,
                   const MemberArguments& arguments) {
    if (arguments.wait && !arguments.spare) return wait_until_in_sync({volume, path});
    if (arguments.spare) {
        fmt::print("{} is a spare of {}\n", path, volume.name);
    } else {
        fmt::print("{} is being filled; 'gemel status {}' shows how far it is\n", path,
                   volume.given);
    }
    return kDone;
}

int add(const MemberArguments& arguments) {
    const VolumeTarget volume = find_volume(arguments.volume, arguments.folder);
    ControlRequest request{ControlCommand::member_add};
    request.path = new_member_path(arguments.member);
    request.force = arguments.force;
    request.spare = arguments.spare;
    answer_or_throw(ask_member(volume.socket, request), volume.given);
    return report_new_one(volume, request.path, arguments);
}

int remove(const MemberArguments& arguments) {
    const MemberTarget target = find_member(arguments);
    ControlRequest request{ControlCommand::member_remove};
    request.member = target.member;
    request.force = arguments.force;
    answer_or_throw(ask_member(target.volume.socket, request), target.volume.given);
    fmt::print(
        "{} is no member of {} any more; what it holds stays there, and counts for "
        "nothing\n",
        target.member, target.volume.name);
    return kDone;
}

int replace(const MemberArguments& arguments) {
    const MemberTarget target = find_member(arguments);
    ControlRequest request{ControlCommand::member_replace};
    request.member = target.member;
    request.path = arguments.successor ? new_member_path(*arguments.successor) : target.member;
    request.force = arguments.force;
    answer_or_throw(ask_member(target.volume.socket, request), target.volume.given);
    return report_new_one(target.volume, request.path, arguments);
}

}  // namespace

int run_member(const MemberArguments& arguments) {
    switch (arguments.action) {
        case MemberAction::add: return add(arguments);
        case MemberAction::remove: return remove(arguments);
        case MemberAction::replace: return replace(arguments);
        case MemberAction::offline: return take_offline(find_member(arguments), arguments.wait);
        case MemberAction::online: return bring_online(find_member(arguments), arguments.wait);
    }
    return kFailed;
}

}  // namespace gemel::tools
