// SPDX-License-Identifier: Apache-2.0
//
// Configurator: changes the configuration of a serving volume, the one procedure for it. A new
// configuration is written to every member that is in sync in it, in both superblocks, each
// flushed, and then to the witness; only then is it in force, and only then do the members' states
// follow. mirror/README.md has the argument.
#pragma once

#include <optional>
#include <string>

#include "blockdev/env.h"
#include "blockdev/mutex.h"
#include "mirror/member_failure.h"
#include "mirror/member_set.h"

namespace gemel::mirror {

class Configurator {
public:
    struct Options {
        Uuid volume;
        std::string witness_path;
        blockdev::ConfigurationRecord in_force;
    };
    // How the configuration in force has a member; nothing: not at all.
    std::optional<blockdev::ConfiguredState> listed_as(const Uuid& member) const;
    Configurator(Env& env, MemberSet& members, Options options, FailureSink on_failure);

    const blockdev::ConfigurationRecord& in_force() const { return in_force_; }

    // Brings into force what the set asks for: without those that are leaving or replaced, with
    // those being admitted, or new, and as large as the volume is to be. A member that fails
    // meanwhile leaves as well. An error means that nothing may be acknowledged any more: no member
    // is left, or the witness cannot be written.
    Task<Status> apply();
    // What apply() is to bring into force from now on. Every member has room for it.
    void set_volume_size(uint64_t bytes) { volume_size_ = bytes; }

    static constexpr unsigned kWitnessAttempts = 5;
    static constexpr uint64_t kWitnessRetry_ns = 200 * kMillisecond;

private:
    bool is_replaced(size_t index) const;
    bool is_wanted(size_t index) const;
    blockdev::ConfiguredState wanted(size_t index) const;
    blockdev::ConfigurationRecord next() const;
    Task<Status> change(blockdev::ConfigurationRecord configuration);
    Task<void> write_member(size_t index, bool counts,
                            const blockdev::ConfigurationRecord& configuration);
    Task<Status> write_witness_patiently(const blockdev::ConfigurationRecord& configuration);
    void follow();
    void follow(size_t index, std::optional<blockdev::ConfiguredState> state);

    Env& env_;
    MemberSet& members_;
    Options options_;
    FailureSink on_failure_;
    Mutex mutex_;
    blockdev::ConfigurationRecord in_force_;
    uint64_t volume_size_;
    uint64_t last_version_;   // Also of those that never came into force.
    bool undecided_ = false;  // Such a one is on a member: a newer one must replace it.
    bool write_failed_ = false;
    std::optional<Error> unmasked_;  // Of a member that nobody can do without.
};

}  // namespace gemel::mirror
