// SPDX-License-Identifier: Apache-2.0
#include "mirror/new_member.h"

#include <algorithm>

namespace gemel::mirror {

using blockdev::Layout;
using blockdev::NewMember;

std::optional<Problem> check_room(std::span<const NewMember> members, const Layout& layout) {
    for (const NewMember& member : members) {
        const std::string& path = member.path;
        if (member.disk->traits().is_block_device) {
            if (member.disk->size() >= layout.member_size()) continue;
            const uint64_t fits =
                blockdev::largest_volume(member.disk->size(), layout.maximum_size, layout.log_size);
            return Problem{Errc::no_space,
                           path + ": too small: it has " + std::to_string(member.disk->size()) +
                               " bytes and needs " + std::to_string(layout.member_size()) +
                               "; a volume of up to " + std::to_string(fits) + " bytes would fit"};
        }
        const Result<uint64_t> free = member.disk->free_bytes();
        if (!free.ok()) return Problem{free.error().code, path + ": " + free.error().text()};
        const uint64_t each =
            layout.log_size + blockdev::kMiB + (layout.preallocated ? layout.volume_size : 0);
        const auto sharing =
            static_cast<uint64_t>(std::count_if(members.begin(), members.end(), [&](const auto& m) {
                return !m.disk->traits().is_block_device &&
                       m.disk->traits().file_system == member.disk->traits().file_system;
            }));
        if (free.value() / sharing < each) {
            return Problem{Errc::no_space, path + ": its file system has " +
                                               std::to_string(free.value()) +
                                               " bytes free and the " + std::to_string(sharing) +
                                               " new members on it need at least " +
                                               std::to_string(each) + " each"};
        }
    }
    return std::nullopt;
}

namespace {

Task<std::optional<Problem>> format(Env& env, NewMember& member, Layout layout,
                                    blockdev::MemberIdentity identity,
                                    blockdev::ConfigurationRecord configuration,
                                    const bool* cancelled) {
    if (std::optional<Problem> problem = check_room({&member, 1}, layout)) co_return *problem;
    const Status prepared =
        co_await blockdev::prepare_member(env, *member.disk, layout, member.force, cancelled);
    if (!prepared.ok()) {
        co_return Problem{prepared.error().code,
                          member.path + ": cannot be prepared: " + prepared.error().text()};
    }
    const Status finished =
        co_await blockdev::finish_member(env, *member.disk, layout, identity, configuration);
    if (finished.ok()) co_return std::nullopt;
    co_return Problem{finished.error().code,
                      member.path + ": cannot be written: " + finished.error().text()};
}

}  // namespace

Task<Outcome<void>> make_member(Env& env, NewMemberOrder order, Layout layout,
                                blockdev::MemberIdentity identity,
                                blockdev::ConfigurationRecord configuration,
                                const bool* cancelled) {
    Outcome<NewMember> opened = co_await blockdev::open_new_member(env, order.path, order.force);
    if (!opened.ok()) co_return opened.error();
    NewMember member = std::move(opened).value();
    std::optional<Problem> problem =
        co_await format(env, member, layout, identity, configuration, cancelled);
    if (!problem) co_return Outcome<void>();
    const Status undone = blockdev::abandon_member(env, member);
    if (!undone.ok()) {
        env.log(LogLevel::warning,
                member.path + ": what was done to it cannot be undone: " + undone.error().text());
    }
    co_return *problem;
}

}  // namespace gemel::mirror
