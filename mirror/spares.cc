// SPDX-License-Identifier: Apache-2.0
#include "mirror/spares.h"

#include <algorithm>

namespace gemel::mirror {

bool is_lost(MemberState state) {
    return state == MemberState::failed || state == MemberState::missing ||
           state == MemberState::diverged;
}

SpareMove next_spare_move(std::span<const SpareView> members, uint64_t now_ns) {
    SpareMove move;
    size_t standing_in = 0;
    size_t lost = 0;  // For long enough.
    size_t away = 0;  // For whatever reason but the operator's.
    std::optional<size_t> idle;
    std::optional<size_t> last_called;
    for (size_t i = 0; i < members.size(); ++i) {
        const SpareView& member = members[i];
        if (member.state == MemberState::removed) continue;
        const bool is_missed = is_lost(member.state) && member.lost_since_ns != 0;
        const uint64_t due_ns = member.lost_since_ns + kSparePatience_ns;
        const bool counts = !member.is_spare || member.stands_in;
        if (is_missed && counts && due_ns > now_ns) {
            move.look_again_ns = std::min(move.look_again_ns, due_ns);
        }
        if (member.stands_in) {
            if (!is_missed || due_ns > now_ns) ++standing_in;
            last_called = i;
        } else if (member.is_spare) {
            if (!idle && member.state == MemberState::spare && member.is_ready) idle = i;
        } else if (!member.is_replaced) {
            const bool is_here =
                member.state == MemberState::in_sync || member.state == MemberState::offline;
            if (!is_here) ++away;
            if (is_missed && due_ns <= now_ns) ++lost;
        }
    }
    if (lost > standing_in) move.call_up = idle;
    if (away < standing_in) move.release = last_called;
    return move;
}

SpareKeeper::SpareKeeper(Env& env, MemberSet& members, std::function<void()> reconfigure)
    : env_(env), members_(members), reconfigure_(std::move(reconfigure)) {}

void SpareKeeper::stop() {
    stopping_ = true;
    members_.changed().notify_all();
}

Task<void> SpareKeeper::run() {
    while (!stopping_) {
        const uint64_t now_ns = env_.now_ns();
        const std::vector<SpareView> members = look(now_ns);
        const SpareMove move = next_spare_move(members, now_ns);
        if (move.call_up || move.release) {
            carry_out(move);
        } else {
            co_await members_.changed().wait_until(move.look_again_ns);
        }
    }
}

std::vector<SpareView> SpareKeeper::look(uint64_t now_ns) {
    lost_since_ns_.resize(members_.size());
    std::vector<SpareView> members(members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        const MemberState state = slot.leaving.value_or(slot.state);
        if (!is_lost(state)) lost_since_ns_[i] = 0;
        if (is_lost(state) && lost_since_ns_[i] == 0) lost_since_ns_[i] = now_ns;
        SpareView& member = members[i];
        member.state = state;
        member.is_spare = slot.is_spare;
        member.stands_in = slot.stands_in;
        member.is_ready = slot.guard && !slot.guard->given_up();
        member.lost_since_ns = lost_since_ns_[i];
    }
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        if (members_.is_member(i) && slot.replaces) members[*slot.replaces].is_replaced = true;
    }
    return members;
}

void SpareKeeper::carry_out(const SpareMove& move) {
    const size_t index = move.call_up ? *move.call_up : *move.release;
    MemberSet::Slot& slot = members_[index];
    slot.stands_in = move.call_up.has_value();
    env_.log(LogLevel::warning, std::string("event=") +
                                    (slot.stands_in ? "spare_called_up" : "spare_released") +
                                    " member=" + slot.path);
    if (slot.stands_in) {
        members_.move(index, MemberState::adding);
    } else if (slot.member != nullptr) {
        members_.give_up(index, MemberState::spare, "");
    } else if (slot.state != MemberState::offline) {
        members_.move(index, MemberState::spare);
    }
    reconfigure_();
}

}  // namespace gemel::mirror
