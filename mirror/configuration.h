// SPDX-License-Identifier: Apache-2.0
//
// Who belongs to a volume, and the witness that remembers it.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "blockdev/disk_format.h"
#include "blockdev/env.h"

namespace gemel::mirror {

// The first configuration of a new volume, whose last `spares` members are that.
blockdev::ConfigurationRecord first_configuration(Env& env, std::span<const Uuid> members,
                                                  uint64_t volume_size, size_t spares = 0);
// The one after `current`: a new epoch that begins after the batch with `previous_hash`.
blockdev::ConfigurationRecord next_epoch(Env& env, const blockdev::ConfigurationRecord& current,
                                         uint64_t first_sequence, uint64_t previous_hash);

// How a configuration lists a member; nothing: not at all.
std::optional<blockdev::ConfiguredState> state_in(
    const blockdev::ConfigurationRecord& configuration, const Uuid& member);
inline bool in_sync_in(const blockdev::ConfigurationRecord& configuration, const Uuid& member) {
    return state_in(configuration, member) == blockdev::ConfiguredState::in_sync;
}

struct WitnessReading {
    std::optional<blockdev::ConfigurationRecord> configuration;  // Nothing: none to go by.
    std::string problem;                                         // Then: "lost", "damaged".
};

// A witness file that does not prove itself is as good as none. One that belongs to another volume,
// or to a newer program, or that may not be read, is a Problem: it must not be overwritten.
Outcome<WitnessReading> read_witness(Env& env, const std::string& path, const Uuid& volume);
Status write_witness(Env& env, const std::string& path, const Uuid& volume,
                     const blockdev::ConfigurationRecord& configuration);

}  // namespace gemel::mirror
