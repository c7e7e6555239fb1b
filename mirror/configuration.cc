// SPDX-License-Identifier: Apache-2.0
#include "mirror/configuration.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "blockdev/assert.h"
#include "blockdev/superblock.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::Superblock;
using blockdev::WitnessRecord;

namespace {

std::tuple<uint64_t, uint64_t> age(const ConfigurationRecord& configuration) {
    return {configuration.epoch.number, configuration.version};
}

bool lists(const ConfigurationRecord& configuration, const Uuid& member) {
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        if (configuration.members[i].uuid == member) return true;
    }
    return false;
}

Problem split_brain(const std::string& a, const std::string& b) {
    return {Errc::stale, a + " and " + b +
                             " hold two different histories of this volume (split "
                             "brain); keep one of them and make the other anew"};
}

std::optional<Problem> check_identity(std::span<const MemberEvidence> members) {
    const Superblock& first = *members.front().superblock;
    for (size_t i = 0; i < members.size(); ++i) {
        const Superblock& other = *members[i].superblock;
        const std::string& path = members[i].path;
        if (other.volume != first.volume) {
            return Problem{Errc::invalid, path + ": belongs to another volume (" +
                                              blockdev::volume_name(other) + ", " +
                                              other.volume.text() + "); check the path"};
        }
        if (std::memcmp(&other.geometry, &first.geometry, sizeof first.geometry) != 0 ||
            other.secret != first.secret) {
            return Problem{Errc::corrupt,
                           path + ": its geometry differs from that of " + members.front().path};
        }
        for (size_t j = 0; j < i; ++j) {
            if (members[j].superblock->member != other.member) continue;
            return Problem{Errc::invalid, path + ": is the same member as " + members[j].path +
                                              " (a copy?); give each member once"};
        }
    }
    return std::nullopt;
}

// A member that has only an older configuration than the newest one, which lists it: the newer ones
// were never in force, since they would have to be stable on all they list. So nothing was served
// under them, and the member is as good as the others if its history ends exactly where the first
// of these epochs begins and nothing was written since. (An old copy of a member that is put back
// is told by the writes it lacks; if there were none, it lacks nothing.)
bool lacks_nothing(const Superblock& older, const Superblock& newest) {
    const uint64_t end = older.tail.sequence;
    if (newest.tail.sequence != end) return false;
    for (uint32_t i = newest.epoch_count; i-- > 0;) {
        const blockdev::EpochRecord& epoch = newest.epochs[i];
        if (epoch.first_sequence != end) return false;
        if (epoch.previous_hash == older.tail.previous_hash) return true;
    }
    return false;
}

Problem missing_member(std::span<const MemberEvidence> members, const ConfigurationRecord& newest) {
    std::string missing;
    for (uint32_t i = 0; i < newest.member_count; ++i) {
        const Uuid uuid = newest.members[i].uuid;
        const bool there = std::any_of(
            members.begin(), members.end(),
            [&uuid](const MemberEvidence& member) { return member.superblock->member == uuid; });
        if (!there) missing += (missing.empty() ? "" : ", ") + uuid.text();
    }
    return {Errc::not_found, "member " + missing +
                                 " is missing; all members must be there to start (starting "
                                 "without one comes with failure handling)"};
}

}  // namespace

Outcome<StartDecision> decide_start(std::span<const MemberEvidence> members,
                                    const std::optional<ConfigurationRecord>& witness) {
    CHECK(!members.empty());
    if (std::optional<Problem> problem = check_identity(members)) return *problem;
    StartDecision decision;
    for (size_t i = 1; i < members.size(); ++i) {
        const auto& newest = members[decision.newest].superblock->configuration;
        if (age(members[i].superblock->configuration) > age(newest)) decision.newest = i;
    }
    const MemberEvidence& best = members[decision.newest];
    const ConfigurationRecord& newest = best.superblock->configuration;
    for (const MemberEvidence& member : members) {
        const ConfigurationRecord& own = member.superblock->configuration;
        if (own.epoch.number == newest.epoch.number && own.epoch.id != newest.epoch.id) {
            return split_brain(member.path, best.path);
        }
        if (!lists(newest, member.superblock->member)) {
            return Problem{Errc::invalid, member.path +
                                              ": is not a member of the volume any more; remove it "
                                              "from the volume file"};
        }
    }
    if (witness) {
        if (age(*witness) > age(newest)) {
            return Problem{Errc::stale, best.path + ": stale: the witness knows epoch " +
                                            std::to_string(witness->epoch.number) +
                                            ", the members only epoch " +
                                            std::to_string(newest.epoch.number) +
                                            "; bring back the newest members"};
        }
        if (witness->epoch.number == newest.epoch.number && witness->epoch.id != newest.epoch.id) {
            return split_brain(best.path, "the witness");
        }
    }
    decision.witness_is_lost = !witness;
    if (members.size() != newest.member_count) return missing_member(members, newest);
    for (size_t i = 0; i < members.size(); ++i) {
        const Superblock& superblock = *members[i].superblock;
        if (age(superblock.configuration) == age(newest)) {
            decision.in_chain.push_back(i);
        } else if (!lacks_nothing(superblock, *best.superblock)) {
            return Problem{Errc::stale,
                           members[i].path + ": stale: it stopped at epoch " +
                               std::to_string(superblock.configuration.epoch.number) + ", write " +
                               std::to_string(superblock.tail.sequence - 1) +
                               ", and the volume went on without it; bringing it up to date "
                               "comes with the resync engine"};
        }
    }
    return decision;
}

ConfigurationRecord first_configuration(Env& env, std::span<const Uuid> members) {
    CHECK(!members.empty() && members.size() <= blockdev::kMaximumMembers);
    ConfigurationRecord configuration{};
    configuration.epoch.number = 1;
    configuration.epoch.id = make_uuid(env);
    configuration.epoch.first_sequence = 1;
    configuration.version = 1;
    configuration.member_count = static_cast<uint32_t>(members.size());
    for (size_t i = 0; i < members.size(); ++i) configuration.members[i].uuid = members[i];
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

namespace {

uint64_t witness_checksum(const WitnessRecord& record) {
    return ecc::hash64(bytes_of(record).subspan(sizeof(le64)));
}

}  // namespace

Outcome<std::optional<ConfigurationRecord>> read_witness(Env& env, const std::string& path,
                                                         const Uuid& volume) {
    const Result<std::vector<std::byte>> bytes = env.read_file(path, sizeof(WitnessRecord));
    if (!bytes.ok() && bytes.error().code == Errc::not_found) {
        return std::optional<ConfigurationRecord>{};
    }
    if (!bytes.ok() && bytes.error().code != Errc::corrupt) {
        return Problem{bytes.error().code,
                       path + ": the witness cannot be read: " + bytes.error().text()};
    }
    WitnessRecord record;
    const bool whole = bytes.ok() && bytes.value().size() == sizeof record;
    if (whole) std::memcpy(static_cast<void*>(&record), bytes.value().data(), sizeof record);
    if (!whole || record.magic != blockdev::kWitnessMagic ||
        record.checksum != witness_checksum(record)) {
        return Problem{Errc::corrupt, path +
                                          ": the witness is damaged; with all members there, "
                                          "remove the file and it is made anew"};
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
    if (blockdev::configuration_fault(record.configuration) != nullptr) {
        return Problem{Errc::corrupt, path + ": the witness holds an impossible configuration"};
    }
    return std::optional<ConfigurationRecord>(record.configuration);
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
