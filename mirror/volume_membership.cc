// SPDX-License-Identifier: Apache-2.0
//
// The parts of Volume that change who its members are. Each change has one moment at which it is
// done, that at which its configuration comes into force; a crash before leaves at most a file that
// nobody lists, or a line in the volume file that counts for nothing and goes at the next start.
//
//     add      the file is made, the volume file lists it, then the configuration does
//     remove   the configuration leaves it out, then the volume file does
//     replace  the successor is added; the configuration that has it in sync leaves the other out
#include <algorithm>

#include "blockdev/assert.h"
#include "mirror/new_member.h"
#include "mirror/volume.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredState;
using blockdev::MemberRole;

namespace {

constexpr uint64_t kLetGo_ns = 3 * kSecond;

// One at a time: each takes its time between looking and doing.
class OneChange {
public:
    explicit OneChange(bool& under_way) : under_way_(under_way) { under_way_ = true; }
    ~OneChange() { under_way_ = false; }
    OneChange(const OneChange&) = delete;
    OneChange& operator=(const OneChange&) = delete;

private:
    bool& under_way_;
};

}  // namespace

VolumeDescription Volume::description() const {
    VolumeDescription description;
    description.name = name_;
    description.uuid = uuid_;
    description.size = geometry_.size;
    description.witness_path = witness_path_;
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        const bool stays = members_.is_member(i) && slot.leaving != MemberState::removed;
        if (stays && !slot.path.empty()) description.members.push_back({slot.path, slot.uuid});
    }
    return description;
}

// What the volume file says counts for nothing while the volume serves, and is put right at the
// next start.
void Volume::keep_description() {
    if (!keep_) return;
    const Outcome<void> kept = keep_(description());
    if (kept.ok()) return;
    env_.log(LogLevel::error, "event=volume_file_is_old why=\"" + kept.error().text + "\"");
}

std::optional<Problem> Volume::refuse_change() const {
    if (stopped_ || closing_down_) return Problem{Errc::closed, name_ + ": is not being served"};
    if (geometry_.read_only) {
        return Problem{Errc::read_only, name_ +
                                            ": is served read-only; its members stay as they "
                                            "are"};
    }
    if (changing_members_) {
        return Problem{Errc::busy,
                       name_ + ": another change of its members is under way; try again"};
    }
    return std::nullopt;
}

std::optional<size_t> Volume::vacancy() const {
    size_t listed = 0;
    std::optional<size_t> vacant;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.is_member(i)) {
            ++listed;
        } else if (!vacant && members_.is_vacant(i) && !rejoiner_.holds(i)) {
            vacant = i;
        }
    }
    if (listed == blockdev::kMaximumMembers) return std::nullopt;
    if (vacant || members_.size() == blockdev::kMaximumMembers) return vacant;
    return members_.size();
}

// As the new member itself is to have it: the one in force, and itself, not in sync.
ConfigurationRecord Volume::configuration_with(const Uuid& member, bool spare) const {
    ConfigurationRecord configuration = configurator_.in_force();
    // With sixteen listed already one of them is about to go.
    const uint32_t place =
        std::min<uint32_t>(configuration.member_count, blockdev::kMaximumMembers - 1);
    configuration.member_count = place + 1;
    configuration.members[place] = {};
    configuration.members[place].uuid = member;
    configuration.members[place].state =
        static_cast<uint32_t>(spare ? ConfiguredState::spare : ConfiguredState::adding);
    configuration.members[place].role =
        static_cast<uint16_t>(spare ? MemberRole::spare : MemberRole::regular);
    return configuration;
}

Task<Outcome<Uuid>> Volume::make_new(NewMemberOrder order) {
    // Others may have had their turn before this.
    size_t source = 0;
    while (source < members_.size() && !members_.readable(source)) ++source;
    if (stopped_ || closing_down_ || source == members_.size()) {
        co_return Problem{Errc::closed, name_ + ": is not being served"};
    }
    blockdev::MemberIdentity identity;
    identity.member = make_uuid(env_);
    identity.volume = uuid_;
    identity.name = name_;
    identity.secret = members_.member(source).superblock().secret;
    identity.created_s = members_.member(source).superblock().created_s;
    ConfigurationRecord configuration = configuration_with(identity.member, order.spare);
    const Outcome<void> made = co_await make_member(env_, order, members_.layout(), identity,
                                                    configuration, &closing_down_);
    if (!made.ok()) co_return made.error();
    co_return identity.member;
}

size_t Volume::settle_in(size_t index, const Uuid& uuid, const NewMemberOrder& order) {
    if (index < members_.size()) {
        sequencer_.forget(index);
        health_.forget(index);
        slow_watch_.forget(index);
        last_repairs_[index] = {UINT64_MAX, 0};
    }
    rejoiner_.forget(index);
    MemberSet::Slot& slot = members_.settle_in(
        index, uuid, order.path, order.spare ? MemberState::spare : MemberState::adding);
    slot.is_spare = order.spare;
    return index;
}

// Brings it into the configuration. Nothing suspends before that begins.
Task<Outcome<size_t>> Volume::take_in_new(Uuid uuid, NewMemberOrder order,
                                          std::optional<size_t> replaces) {
    const std::optional<size_t> place = vacancy();
    if (stopped_ || closing_down_ || !place) {
        co_return Problem{Errc::closed, name_ + ": went away meanwhile; give " + order.path +
                                            " again, with --force"};
    }
    const size_t index = settle_in(*place, uuid, order);
    if (replaces && members_.is_member(*replaces)) members_[index].replaces = replaces;
    keep_description();
    health_.note(index, "event=member_added");
    co_await reconfigure();
    if (stopped_) co_return Problem{Errc::io, name_ + ": stopped: " + stopped_because_};
    rejoiner_.hurry(index);
    co_return index;
}

Task<Outcome<size_t>> Volume::add_member(NewMemberOrder order) {
    if (std::optional<Problem> problem = refuse_change()) co_return *problem;
    if (find_member(order.path)) {
        co_return Problem{Errc::exists, order.path + ": is a member already"};
    }
    if (!vacancy()) co_return no_room_for_another();
    const OneChange change(changing_members_);
    const Outcome<Uuid> uuid = co_await make_new(order);
    if (!uuid.ok()) co_return uuid.error();
    co_return co_await take_in_new(uuid.value(), order, std::nullopt);
}

Problem Volume::no_room_for_another() const {
    return {Errc::invalid, name_ + ": has " + std::to_string(blockdev::kMaximumMembers) +
                               " members already (or some that were removed still hang); remove "
                               "one first"};
}

// Why the volume could be worse off without it; empty if not.
std::string Volume::worth_of(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    if (slot.state == MemberState::diverged) {
        return "holds writes of a history of its own, which would be lost with it";
    }
    if (!members_.readable(index) && slot.state != MemberState::spare &&
        health_.lost().size() != 0) {
        return "may have the last good copy of blocks that no other member has (status lists them)";
    }
    return "";
}

std::optional<Problem> Volume::refuse_removal(size_t index, bool force) const {
    const MemberSet::Slot& slot = members_[index];
    if (slot.leaving) {
        return Problem{Errc::busy, slot.path + ": is leaving at this moment; try again"};
    }
    if (members_.counts(index) && members_.readable_count() <= 1) {
        return Problem{Errc::invalid,
                       slot.path +
                           ": is the only member in sync: without it the volume has no "
                           "good copy; bring another one back first"};
    }
    const std::string worth = worth_of(index);
    if (worth.empty() || force) return std::nullopt;
    return Problem{Errc::invalid, slot.path + ": " + worth + "; --force removes it all the same"};
}

Task<std::optional<Problem>> Volume::remove_member(size_t index, bool force) {
    if (std::optional<Problem> problem = refuse_change()) co_return *problem;
    if (std::optional<Problem> problem = refuse_removal(index, force)) co_return *problem;
    const OneChange change(changing_members_);
    health_.note(index, "event=member_removed");
    if (!members_[index].is_spare) give_place_to_stand_in();
    members_.give_up(index, MemberState::removed, "removed by the operator");
    co_await reconfigure();
    if (stopped_) co_return Problem{Errc::io, name_ + ": stopped: " + stopped_because_};
    co_return std::nullopt;
}

// The spare that has taken the place of the one that goes is no spare any more.
void Volume::give_place_to_stand_in() {
    for (size_t i = 0; i < members_.size(); ++i) {
        MemberSet::Slot& slot = members_[i];
        if (!members_.is_member(i) || slot.leaving || !slot.stands_in) continue;
        slot.is_spare = false;
        slot.stands_in = false;
        return;
    }
}

Task<Outcome<size_t>> Volume::replace_member(size_t index, NewMemberOrder order, bool force) {
    if (std::optional<Problem> problem = refuse_change()) co_return *problem;
    if (order.path == members_[index].path)
        co_return co_await replace_in_place(index, order, force);
    if (find_member(order.path)) {
        co_return Problem{Errc::exists, order.path + ": is a member already"};
    }
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.is_member(i) || members_[i].replaces != index) continue;
        co_return Problem{Errc::exists, members_[index].path + ": is being replaced by " +
                                            members_[i].path + " already; remove that one first"};
    }
    const std::string worth = worth_of(index);
    if (!worth.empty() && !force) {
        co_return Problem{Errc::invalid, members_[index].path + ": " + worth +
                                             "; --force replaces it all the same"};
    }
    if (!vacancy()) co_return no_room_for_another();
    order.spare = members_[index].is_spare;
    const OneChange change(changing_members_);
    const Outcome<Uuid> uuid = co_await make_new(order);
    if (!uuid.ok()) co_return uuid.error();
    co_return co_await take_in_new(uuid.value(), order, index);
}

// Another disk at the same path, or the same one once more: what is there is lost at once, so the
// member that had it goes in the same change.
Task<Outcome<size_t>> Volume::replace_in_place(size_t index, NewMemberOrder order, bool force) {
    const MemberSet::Slot& slot = members_[index];
    if (slot.guard || slot.leaving) {
        co_return Problem{Errc::busy, slot.path +
                                          ": is in use; 'gemel member offline' takes it out "
                                          "first, or name another path"};
    }
    if (std::optional<Problem> problem = refuse_removal(index, force)) co_return *problem;
    if (!vacancy()) co_return no_room_for_another();
    order.spare = slot.is_spare;
    const OneChange change(changing_members_);
    const MemberState before = slot.state;
    // Then nobody looks for it any more.
    if (before != MemberState::offline) members_.move(index, MemberState::offline, slot.why);
    Outcome<Uuid> uuid = Problem{Errc::busy, order.path + ": still does not answer; try again"};
    if (co_await is_let_go(index)) uuid = co_await make_new(order);
    if (!uuid.ok()) {
        const bool is_away = slot.state == MemberState::offline && before != MemberState::offline;
        if (is_away) members_.move(index, MemberState::missing, slot.why);
        co_return uuid.error();
    }
    health_.note(index, "event=member_removed");
    members_.give_up(index, MemberState::removed, "replaced");
    co_return co_await take_in_new(uuid.value(), order, std::nullopt);
}

// Waits for whoever may be opening it, not for ever.
Task<bool> Volume::is_let_go(size_t index) {
    const uint64_t deadline_ns = env_.now_ns() + kLetGo_ns;
    while (rejoiner_.holds(index) && env_.now_ns() < deadline_ns) {
        co_await sleep_for(env_, kMillisecond);
    }
    co_return !rejoiner_.holds(index);
}

}  // namespace gemel::mirror
