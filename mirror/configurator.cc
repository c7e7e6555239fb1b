// SPDX-License-Identifier: Apache-2.0
#include "mirror/configurator.h"

#include <array>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/superblock.h"
#include "mirror/configuration.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredMember;
using blockdev::ConfiguredState;
using blockdev::MemberRole;

namespace {

bool says_the_same(ConfigurationRecord a, const ConfigurationRecord& b) {
    a.version = b.version;
    return std::memcmp(&a, &b, sizeof a) == 0;
}

}  // namespace

Configurator::Configurator(Env& env, MemberSet& members, Options options, FailureSink on_failure)
    : env_(env),
      members_(members),
      options_(std::move(options)),
      on_failure_(std::move(on_failure)),
      mutex_(env),
      in_force_(options_.in_force),
      volume_size_(in_force_.volume_size),
      last_version_(in_force_.version) {}

// Its successor has been brought up to date: one configuration lists that and leaves this one out.
bool Configurator::is_replaced(size_t index) const {
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        if (slot.admitting && !slot.leaving && slot.replaces == index) return true;
    }
    return false;
}

bool Configurator::is_wanted(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    return members_.is_member(index) && slot.leaving != MemberState::removed && !is_replaced(index);
}

ConfiguredState Configurator::wanted(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    if (slot.admitting && !slot.leaving) return ConfiguredState::in_sync;
    const ConfiguredState state = configured_as(slot.leaving.value_or(slot.state));
    const bool idle = slot.is_spare && !slot.stands_in && state != ConfiguredState::offline;
    return idle ? ConfiguredState::spare : state;
}

ConfigurationRecord Configurator::next() const {
    ConfigurationRecord configuration = in_force_;
    configuration.version = last_version_ + 1;
    configuration.volume_size = volume_size_;
    std::array<uint16_t, blockdev::kMaximumMembers> places{};  // Counted from 1; 0: not listed.
    uint16_t count = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (is_wanted(i)) places[i] = ++count;
    }
    configuration.member_count = count;
    for (ConfiguredMember& listed : configuration.members) listed = ConfiguredMember{};
    for (size_t i = 0; i < members_.size(); ++i) {
        if (places[i] == 0) continue;
        const MemberSet::Slot& slot = members_[i];
        ConfiguredMember& listed = configuration.members[places[i] - 1];
        listed.uuid = slot.uuid;
        listed.state = static_cast<uint32_t>(wanted(i));
        listed.role =
            static_cast<uint16_t>(slot.is_spare ? MemberRole::spare : MemberRole::regular);
        listed.replaces = slot.replaces ? places[*slot.replaces] : uint16_t{0};
    }
    return configuration;
}

std::optional<ConfiguredState> Configurator::listed_as(const Uuid& member) const {
    return state_in(in_force_, member);
}

Task<Status> Configurator::apply() {
    co_await mutex_.lock();
    Status status;
    while (status.ok()) {
        const ConfigurationRecord configuration = next();
        if (!undecided_ && says_the_same(configuration, in_force_)) break;
        if (blockdev::configuration_fault(configuration) != nullptr) {
            status = Error{Errc::io, 0, "no member in sync is left"};
            break;
        }
        last_version_ = configuration.version;
        undecided_ = true;
        status = co_await change(configuration);
    }
    if (status.ok()) follow();
    mutex_.unlock();
    co_return status;
}

// One attempt. It succeeds without bringing anything into force if a member failed: then there is
// more to change.
Task<Status> Configurator::change(ConfigurationRecord configuration) {
    write_failed_ = false;
    Scope scope(env_);
    for (size_t i = 0; i < members_.size(); ++i) {
        const bool counts = state_in(configuration, members_[i].uuid) == ConfiguredState::in_sync;
        if (counts || members_.flows(i)) scope.start(write_member(i, counts, configuration));
    }
    co_await scope.join();
    if (unmasked_) co_return *unmasked_;
    if (write_failed_) co_return Status::success();
    const Status witnessed = co_await write_witness_patiently(configuration);
    if (!witnessed.ok()) co_return witnessed;
    in_force_ = configuration;
    undecided_ = false;
    follow();
    co_return Status::success();
}

// One that is only on its way to being in sync gets it as well: its log may hold what an older
// configuration has no room for.
Task<void> Configurator::write_member(size_t index, bool counts,
                                      const ConfigurationRecord& configuration) {
    const Status written = co_await members_.member(index).write_configuration(configuration);
    if (written.ok()) co_return;
    on_failure_({index, "writing the configuration", written.error()});
    if (!counts) co_return;
    write_failed_ = true;
    if (!members_[index].leaving) unmasked_ = written.error();
}

Task<Status> Configurator::write_witness_patiently(const ConfigurationRecord& configuration) {
    Status status;
    for (unsigned attempt = 0; attempt < kWitnessAttempts; ++attempt) {
        if (attempt != 0) co_await sleep_for(env_, kWitnessRetry_ns);
        status = write_witness(env_, options_.witness_path, options_.volume, configuration);
        if (status.ok()) break;
        env_.log(LogLevel::error, options_.witness_path +
                                      ": the witness cannot be written: " + status.error().text());
    }
    co_return status;
}

// What is in force is what the members are. One that failed while it was admitted counts until the
// next change, which excludes it.
void Configurator::follow() {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.is_member(i)) follow(i, state_in(in_force_, members_[i].uuid));
    }
}

void Configurator::follow(size_t index, std::optional<ConfiguredState> state) {
    MemberSet::Slot& slot = members_[index];
    const std::optional<MemberState> leaving = slot.leaving;
    if (!state) {
        if (!slot.listed) return;  // It is new; the next configuration has it.
        if (slot.guard && !leaving) members_.give_up(index, MemberState::removed, "replaced");
        return members_.move(index, MemberState::removed);
    }
    slot.listed = true;
    if (slot.replaces && !state_in(in_force_, members_[*slot.replaces].uuid)) slot.replaces.reset();
    if (*state == ConfiguredState::in_sync && slot.admitting) {
        members_.move(index, MemberState::in_sync);
        slot.leaving = leaving;
    } else if (*state != ConfiguredState::in_sync && leaving) {
        members_.move(index, *leaving, slot.why);
    }
}

}  // namespace gemel::mirror
