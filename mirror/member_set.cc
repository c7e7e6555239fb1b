// SPDX-License-Identifier: Apache-2.0
#include "mirror/member_set.h"

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::Member;

MemberSet::MemberSet(Loop& loop, const std::vector<Member*>& members)
    : doorbell_(loop), changed_(loop) {
    for (Member* member : members) {
        Slot& slot = add(member->superblock().member, member->path());
        slot.member = member;
        slot.joined = true;
        slot.checkpoints = true;
    }
    set_common(members.front()->layout(), members.front()->superblock().secret);
}

void MemberSet::set_common(const blockdev::Layout& layout, const ecc::VolumeSecret& secret) {
    layout_ = layout;
    hasher_.emplace(secret);
}

MemberSet::Slot& MemberSet::add(Uuid uuid, std::string path) {
    CHECK(slots_.size() < blockdev::kMaximumMembers);
    Slot& slot = *slots_.emplace_back(std::make_unique<Slot>());
    slot.uuid = uuid;
    slot.path = std::move(path);
    return slot;
}

bool MemberSet::is_vacant(size_t index) const {
    const Slot& slot = *slots_[index];
    return slot.state == MemberState::removed && !slot.guard && slot.reads_in_flight == 0;
}

MemberSet::Slot& MemberSet::settle_in(size_t index, Uuid uuid, std::string path,
                                      MemberState state) {
    if (index == size()) { add(uuid, path).state = MemberState::removed; }
    Slot& slot = *slots_[index];
    CHECK(is_vacant(index));
    slot = Slot{};
    slot.uuid = uuid;
    slot.path = std::move(path);
    slot.state = MemberState::removed;
    slot.listed = false;
    move(index, state);
    return slot;
}

void MemberSet::take_in(Env& env, size_t index, std::unique_ptr<Member> member) {
    Slot& slot = *slots_[index];
    CHECK(!slot.guard);
    slot.guard = std::make_unique<GuardedMember>(env, std::move(member), doorbell_);
    slot.member = slot.guard.get();
    slot.member->set_on_flush_failure([this, index](const Error& error) {
        if (on_failure_) on_failure_({index, "flush", error});
    });
}

size_t MemberSet::readable_count() const {
    size_t count = 0;
    for (size_t i = 0; i < size(); ++i) count += readable(i) ? 1 : 0;
    return count;
}

std::vector<Member*> MemberSet::readable_members(size_t index) const {
    std::vector<Member*> members;
    if (index < size() && readable(index)) members.push_back(&member(index));
    for (size_t i = 0; i < size(); ++i) {
        if (i != index && readable(i)) members.push_back(&member(i));
    }
    return members;
}

void MemberSet::move(size_t index, MemberState state, std::string why) {
    Slot& slot = *slots_[index];
    const MemberState before = slot.state;
    CHECK(before == state || may_move(before, state));
    slot.state = state;
    slot.why = std::move(why);
    slot.leaving.reset();
    slot.admitting = false;
    if (state != MemberState::in_sync && state != MemberState::lagging &&
        state != MemberState::resyncing && state != MemberState::adding) {
        slot.joined = false;
        slot.checkpoints = false;
    }
    if (state == MemberState::removed) slot.listed = false;
    changed_.notify_all();
    if (before != state && on_move_) on_move_(index, before, state);
}

void MemberSet::begin_to_lag(size_t index, std::string why) {
    Slot& slot = *slots_[index];
    CHECK(readable(index) && readable_count() > 1);
    slot.leaving = MemberState::lagging;
    slot.why = std::move(why);
    changed_.notify_all();
}

void MemberSet::keep(size_t index) {
    Slot& slot = *slots_[index];
    CHECK(slot.state == MemberState::in_sync && slot.leaving == MemberState::lagging);
    slot.leaving.reset();
    slot.why.clear();
    changed_.notify_all();
}

void MemberSet::retire(size_t index) {
    Slot& slot = *slots_[index];
    CHECK(slot.guard && !slot.leaving);
    slot.guard->retire();
    slot.last_counters = slot.guard->counters();
    slot.member = nullptr;
    retired_.push_back(std::move(slot.guard));
    changed_.notify_all();
}

void MemberSet::let_go(bool all_quiet) {
    for (const std::unique_ptr<Slot>& slot : slots_) {
        slot->member = nullptr;
        slot->joined = false;
        if (slot->guard) slot->guard->set_on_flush_failure(nullptr);
        if (!all_quiet) static_cast<void>(slot->guard.release());
        slot->guard.reset();
    }
    if (all_quiet) return;
    for (std::unique_ptr<GuardedMember>& guard : retired_) static_cast<void>(guard.release());
}

void MemberSet::give_up(size_t index, MemberState target, std::string why) {
    Slot& slot = *slots_[index];
    slot.leaving = target;
    slot.why = std::move(why);
    if (slot.guard) slot.guard->give_up();
    changed_.notify_all();
}

}  // namespace gemel::mirror
