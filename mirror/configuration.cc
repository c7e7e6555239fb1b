// SPDX-License-Identifier: Apache-2.0
#include "mirror/configuration.h"

#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/superblock.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredState;
using blockdev::WitnessRecord;

ConfigurationRecord first_configuration(Env& env, std::span<const Uuid> members,
                                        uint64_t volume_size, size_t spares) {
    CHECK(members.size() > spares && members.size() <= blockdev::kMaximumMembers);
    ConfigurationRecord configuration{};
    configuration.epoch.number = 1;
    configuration.epoch.id = make_uuid(env);
    configuration.epoch.first_sequence = 1;
    configuration.version = 1;
    configuration.volume_size = volume_size;
    configuration.member_count = static_cast<uint32_t>(members.size());
    for (size_t i = 0; i < members.size(); ++i) configuration.members[i].uuid = members[i];
    for (size_t i = members.size() - spares; i < members.size(); ++i) {
        configuration.members[i].state = static_cast<uint32_t>(ConfiguredState::spare);
        configuration.members[i].role = static_cast<uint16_t>(blockdev::MemberRole::spare);
    }
    CHECK(blockdev::configuration_fault(configuration) == nullptr);
    return configuration;
}

ConfigurationRecord next_epoch(Env& env, const ConfigurationRecord& current,
                               uint64_t first_sequence, uint64_t previous_hash) {
    ConfigurationRecord next = current;
    next.epoch.number = current.epoch.number + 1;
    next.epoch.id = make_uuid(env);
    next.epoch.first_sequence = first_sequence;
    next.epoch.previous_hash = previous_hash;
    next.version = 1;
    return next;
}

std::optional<ConfiguredState> state_in(const ConfigurationRecord& configuration,
                                        const Uuid& member) {
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        if (configuration.members[i].uuid != member) continue;
        return static_cast<ConfiguredState>(configuration.members[i].state.get());
    }
    return std::nullopt;
}

namespace {

uint64_t witness_checksum(const WitnessRecord& record) {
    return ecc::hash64(bytes_of(record).subspan(sizeof(le64)));
}

}  // namespace

Outcome<WitnessReading> read_witness(Env& env, const std::string& path, const Uuid& volume) {
    const WitnessReading damaged{std::nullopt, "damaged"};
    const Result<std::vector<std::byte>> bytes = env.read_file(path, sizeof(WitnessRecord));
    if (!bytes.ok()) {
        switch (bytes.error().code) {
            case Errc::not_found: return WitnessReading{std::nullopt, "lost"};
            case Errc::corrupt:
            case Errc::io: return damaged;
            default:
                return Problem{bytes.error().code,
                               path + ": the witness cannot be read: " + bytes.error().text()};
        }
    }
    WitnessRecord record;
    if (bytes.value().size() != sizeof record) return damaged;
    std::memcpy(static_cast<void*>(&record), bytes.value().data(), sizeof record);
    if (record.magic != blockdev::kWitnessMagic || record.checksum != witness_checksum(record)) {
        return damaged;
    }
    if (record.version != blockdev::kFormatVersion) {
        return Problem{Errc::unsupported, path + ": the witness has format " +
                                              std::to_string(record.version) +
                                              ", this program reads 1: upgrade Gemel"};
    }
    if (record.volume != volume) {
        return Problem{Errc::invalid, path + ": is the witness of another volume (" +
                                          record.volume.text() + "); check the path"};
    }
    if (blockdev::configuration_fault(record.configuration) != nullptr) return damaged;
    return WitnessReading{record.configuration, ""};
}

Status write_witness(Env& env, const std::string& path, const Uuid& volume,
                     const ConfigurationRecord& configuration) {
    WitnessRecord record{};
    record.magic = blockdev::kWitnessMagic;
    record.version = blockdev::kFormatVersion;
    record.volume = volume;
    record.configuration = configuration;
    record.checksum = witness_checksum(record);
    return env.replace_file(path, bytes_of(record));
}

}  // namespace gemel::mirror
