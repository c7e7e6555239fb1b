// SPDX-License-Identifier: Apache-2.0
#include "mirror/configurator.h"

#include "blockdev/assert.h"
#include "blockdev/superblock.h"
#include "mirror/configuration.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredState;

Configurator::Configurator(Env& env, MemberSet& members, Options options, FailureSink on_failure)
    : env_(env),
      members_(members),
      options_(std::move(options)),
      on_failure_(std::move(on_failure)),
      mutex_(env),
      in_force_(options_.in_force),
      last_version_(in_force_.version) {}

ConfiguredState Configurator::wanted(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    if (slot.leaving) return configured_as(*slot.leaving);
    return slot.admitting ? ConfiguredState::in_sync : configured_as(slot.state);
}

ConfigurationRecord Configurator::next() const {
    ConfigurationRecord configuration = in_force_;
    configuration.version = last_version_ + 1;
    configuration.member_count = static_cast<uint32_t>(members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
        configuration.members[i].uuid = members_[i].uuid;
        configuration.members[i].state = static_cast<uint32_t>(wanted(i));
    }
    return configuration;
}

bool Configurator::wants_change() const {
    if (undecided_ || in_force_.member_count != members_.size()) return true;
    for (size_t i = 0; i < members_.size(); ++i) {
        const auto state = static_cast<ConfiguredState>(in_force_.members[i].state.get());
        if (state != wanted(i)) return true;
    }
    return false;
}

Task<Status> Configurator::apply() {
    co_await mutex_.lock();
    Status status;
    while (status.ok() && wants_change()) {
        const ConfigurationRecord configuration = next();
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
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        const auto state = static_cast<ConfiguredState>(configuration.members[i].state.get());
        if (state == ConfiguredState::in_sync) scope.start(write_member(i, configuration));
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

Task<void> Configurator::write_member(size_t index, const ConfigurationRecord& configuration) {
    const Status written = co_await members_.member(index).write_configuration(configuration);
    if (written.ok()) co_return;
    write_failed_ = true;
    on_failure_({index, "writing the configuration", written.error()});
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
        MemberSet::Slot& slot = members_[i];
        const auto state = static_cast<ConfiguredState>(in_force_.members[i].state.get());
        const std::optional<MemberState> leaving = slot.leaving;
        if (state == ConfiguredState::in_sync && slot.admitting) {
            members_.move(i, MemberState::in_sync);
            slot.leaving = leaving;
        } else if (state != ConfiguredState::in_sync && leaving) {
            members_.move(i, *leaving, slot.why);
        }
    }
}

}  // namespace gemel::mirror
