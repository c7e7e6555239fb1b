// SPDX-License-Identifier: Apache-2.0
//
// MemberSet: the members of a volume in the order of its configuration, what each one is at the
// moment, and who waits for changes of that. Everything that works on members asks here which ones
// it may use; an index names the same member as long as that is one. The place of a removed member
// goes to a new one once nothing is left of it.
//
// A member that has failed is given up at once: it gets no more work, and every call to it ends.
// But it counts until a configuration without it is in force, so that nothing is acknowledged
// before; only then does its state change. One that is merely too slow goes on to get all batches.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/event.h"
#include "blockdev/member.h"
#include "mirror/guarded_member.h"
#include "mirror/member_failure.h"
#include "mirror/member_state.h"

namespace gemel::mirror {

class MemberSet {
public:
    struct Slot {
        Uuid uuid;
        std::string path;
        blockdev::Member* member = nullptr;  // Null: it is not there.
        MemberState state = MemberState::in_sync;
        std::string why;  // What is the matter with it, for people.
        // In sync by the configuration, but on its way out, to this state.
        std::optional<MemberState> leaving;
        bool joined = false;       // Gets every new batch,
        bool checkpoints = false;  // and may bring its log home.
        bool admitting = false;    // Acknowledgements wait for it already.
        bool listed = true;        // By the configuration in force.
        bool is_spare = false;     // By its role; and whether it is
        bool stands_in = false;    // needed at present, in place of a regular one.
        // The member that leaves once this one is in sync.
        std::optional<size_t> replaces;
        uint32_t reads_in_flight = 0;
        blockdev::MemberCounters last_counters;  // When it was retired.
        std::unique_ptr<GuardedMember> guard;    // What `member` is, but in tests.

        bool is_given_up() const { return leaving && *leaving != MemberState::lagging; }
    };

    explicit MemberSet(Loop& loop) : doorbell_(loop), changed_(loop) {}
    // All of them in sync, and somebody else's.
    MemberSet(Loop& loop, const std::vector<blockdev::Member*>& members);

    // What all members have in common.
    void set_common(const blockdev::Layout& layout, const ecc::VolumeSecret& secret);
    const blockdev::Layout& layout() const { return layout_; }
    const ecc::BlockHasher& hasher() const { return *hasher_; }

    size_t size() const { return slots_.size(); }
    Slot& operator[](size_t index) { return *slots_[index]; }
    const Slot& operator[](size_t index) const { return *slots_[index]; }
    blockdev::Member& member(size_t index) const { return *slots_[index]->member; }
    Slot& add(Uuid uuid, std::string path);
    // Whether nothing is left of the removed member that had this place.
    bool is_vacant(size_t index) const;
    // Puts a new member in a vacant place, or a new one (`index` is size()). It is not listed so
    // far, nor taken in.
    Slot& settle_in(size_t index, Uuid uuid, std::string path, MemberState state);
    bool is_member(size_t index) const { return slots_[index]->state != MemberState::removed; }
    // The volume has become larger.
    void set_volume_size(uint64_t size) { layout_.volume_size = size; }

    // Puts the member in its place, behind a guard. A flush that fails on it is reported.
    void take_in(Env& env, size_t index, std::unique_ptr<blockdev::Member> member);
    void set_on_failure(FailureSink sink) { on_failure_ = std::move(sink); }

    // Whether new batches go to it.
    bool flows(size_t index) const {
        const Slot& slot = *slots_[index];
        return slot.joined && !slot.is_given_up();
    }
    // Whether it is too slow to be waited for, as soon as the configuration says so.
    bool lags(size_t index) const {
        const Slot& slot = *slots_[index];
        return slot.leaving.value_or(slot.state) == MemberState::lagging;
    }
    // Whether how full its log is holds up the others.
    bool holds_up(size_t index) const { return flows(index) && !lags(index); }
    // Whether acknowledgements and flushes wait for it: also while it is on its way out.
    bool counts(size_t index) const {
        const Slot& slot = *slots_[index];
        return slot.state == MemberState::in_sync || slot.admitting;
    }
    // Whether it is in sync and may be asked for anything.
    bool readable(size_t index) const {
        const Slot& slot = *slots_[index];
        return slot.state == MemberState::in_sync && !slot.leaving;
    }
    // Whether anything more may be asked of it, whatever it is.
    bool in_use(size_t index) const {
        const Slot& slot = *slots_[index];
        return slot.member != nullptr && !slot.is_given_up() &&
               !(slot.guard && slot.guard->given_up());
    }
    bool checkpoints(size_t index) const { return flows(index) && slots_[index]->checkpoints; }
    size_t readable_count() const;
    // The readable ones, `index` first if it is one of them.
    std::vector<blockdev::Member*> readable_members(size_t index) const;

    // The one place where a member's state changes; the move must be legal.
    void move(size_t index, MemberState state, std::string why = {});
    // Called after each move to another state.
    void set_on_move(std::function<void(size_t, MemberState, MemberState)> call) {
        on_move_ = std::move(call);
    }
    // It is not to be waited for any more; and that it stays nevertheless, as long as it has not
    // left.
    void begin_to_lag(size_t index, std::string why);
    void keep(size_t index);
    // No more work for this member: every call to it ends with an error, now and later.
    void give_up(size_t index, MemberState target, std::string why);

    // Closes a member that was given up and is quiet. It is what it is, but nothing of it is held.
    void retire(size_t index);

    // The volume has closed: releases all members; or, where work still hangs, leaves them all to
    // themselves for good, since that work may come to any of them.
    void let_go(bool all_quiet);

    // Rung when a guarded member gets work.
    Doorbell& doorbell() { return doorbell_; }
    // Notified whenever any of the above may have changed.
    Event& changed() { return changed_; }

private:
    blockdev::Layout layout_;
    std::optional<ecc::BlockHasher> hasher_;
    std::vector<std::unique_ptr<Slot>> slots_;
    // What is left of retired ones: work that hung may still hold pointers to them.
    std::vector<std::unique_ptr<GuardedMember>> retired_;
    Doorbell doorbell_;
    Event changed_;
    std::function<void(size_t, MemberState, MemberState)> on_move_;
    FailureSink on_failure_;
};

}  // namespace gemel::mirror
