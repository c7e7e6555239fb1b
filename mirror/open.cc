// SPDX-License-Identifier: Apache-2.0
#include "mirror/open.h"

#include <algorithm>

#include "blockdev/local_member.h"
#include "mirror/configuration.h"
#include "mirror/settlement.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::LocalMember;
using blockdev::Member;

namespace {

using Members = std::vector<std::unique_ptr<Member>>;

Task<Outcome<Members>> open_members(Env& env, const VolumeDescription& description,
                                    size_t cache_bytes, blockdev::BufferPool& pool) {
    Members members;
    for (const MemberDescription& listed : description.members) {
        Outcome<std::unique_ptr<LocalMember>> member = co_await LocalMember::open(
            env, listed.path, cache_bytes / description.members.size(), pool);
        if (!member.ok()) co_return member.error();
        members.push_back(std::move(member).value());
    }
    co_return members;
}

std::optional<Problem> check_against_description(const Members& members,
                                                 const VolumeDescription& description) {
    for (const auto& member : members) {
        if (member->superblock().volume == description.uuid) continue;
        return Problem{Errc::invalid, member->path() + ": belongs to volume " +
                                          member->superblock().volume.text() + " (" +
                                          blockdev::volume_name(member->superblock()) +
                                          "), not to " + description.name +
                                          "; check the paths in the volume file"};
    }
    return std::nullopt;
}

std::vector<MemberEvidence> evidence_of(const Members& members) {
    std::vector<MemberEvidence> evidence;
    for (const auto& member : members) {
        evidence.push_back({member->path(), &member->superblock()});
    }
    return evidence;
}

// A new epoch: once all that it follows is stable on every member, on every member, then at the
// witness; only then is anything served.
Task<Outcome<ConfigurationRecord>> begin_epoch(Env& env, const Members& members,
                                               const VolumeDescription& description, size_t newest,
                                               const Settled& settled) {
    // What was read may be what a killed process had written and not flushed: a loss of power now
    // would take one member back behind the end of the history from which the others go on.
    for (const auto& member : members) {
        const Status flushed = co_await member->flush();
        if (!flushed.ok()) {
            co_return Problem{flushed.error().code,
                              member->path() + ": cannot be flushed: " + flushed.error().text()};
        }
    }
    const blockdev::Superblock& superblock = members[newest]->superblock();
    const std::vector<blockdev::EpochRecord> history(superblock.epochs,
                                                     superblock.epochs + superblock.epoch_count);
    const ConfigurationRecord next =
        next_epoch(env, superblock.configuration, settled.last_sequence + 1, settled.chain_hash);
    for (const auto& member : members) {
        const Status written = co_await member->begin_epoch(next, history);
        if (!written.ok()) {
            co_return Problem{
                written.error().code,
                member->path() + ": the new epoch cannot be written: " + written.error().text()};
        }
    }
    const Status witnessed = write_witness(env, description.witness_path, description.uuid, next);
    if (!witnessed.ok()) {
        co_return Problem{witnessed.error().code,
                          description.witness_path +
                              ": the witness cannot be written: " + witnessed.error().text()};
    }
    co_return next;
}

void log_settlement(Env& env, const VolumeDescription& description, const Settled& settled) {
    if (settled.batches_kept == 0) return;
    env.log(LogLevel::info, description.name + ": settled after a crash: batches=" +
                                std::to_string(settled.batches_kept) +
                                " completed=" + std::to_string(settled.batches_completed) +
                                " last_write=" + std::to_string(settled.last_sequence));
}

Problem stale_problem(const Members& members, const std::vector<Member*>& in_chain) {
    const auto stale = std::find_if(members.begin(), members.end(), [&](const auto& member) {
        return std::find(in_chain.begin(), in_chain.end(), member.get()) == in_chain.end();
    });
    return {Errc::stale, (*stale)->path() +
                             ": stale: it did not take part in the last epoch, in "
                             "which there were writes"};
}

}  // namespace

Task<Outcome<std::unique_ptr<Volume>>> open_volume(Env& env, VolumeDescription description,
                                                   OpenOptions options) {
    VolumeParts parts;
    parts.name = description.name;
    parts.read_only = options.read_only;
    parts.scrub = options.scrub;
    parts.limits = options.limits;
    parts.pool = std::make_unique<blockdev::BufferPool>(kPayloadMemory);
    Outcome<Members> opened =
        co_await open_members(env, description, options.cache_bytes, *parts.pool);
    if (!opened.ok()) co_return opened.error();
    Members members = std::move(opened).value();
    if (auto problem = check_against_description(members, description)) co_return *problem;
    const Outcome<std::optional<ConfigurationRecord>> witness =
        read_witness(env, description.witness_path, description.uuid);
    if (!witness.ok()) co_return witness.error();

    const std::vector<MemberEvidence> evidence = evidence_of(members);
    const Outcome<StartDecision> decision = decide_start(evidence, witness.value());
    if (!decision.ok()) co_return decision.error();
    if (decision.value().witness_is_lost) {
        env.log(LogLevel::warning, description.name +
                                       ": the witness is lost; all members are "
                                       "there and prove the start: made anew");
    }
    for (const auto& member : members) {
        const Status claimed = co_await member->claim();
        if (!claimed.ok()) {
            co_return Problem{claimed.error().code,
                              member->path() + ": cannot be written: " + claimed.error().text()};
        }
    }
    const size_t newest = decision.value().newest;
    std::vector<Member*> in_chain;
    for (size_t index : decision.value().in_chain) in_chain.push_back(members[index].get());
    const Uuid epoch_id = members[newest]->superblock().configuration.epoch.id;
    const Outcome<Settled> settled = co_await settle(in_chain, epoch_id);
    if (!settled.ok()) co_return settled.error();
    log_settlement(env, description, settled.value());
    if (settled.value().batches_kept != 0 && in_chain.size() != members.size()) {
        co_return stale_problem(members, in_chain);
    }

    const Outcome<ConfigurationRecord> next =
        co_await begin_epoch(env, members, description, newest, settled.value());
    if (!next.ok()) co_return next.error();
    parts.configuration = next.value();
    const blockdev::EpochRecord& epoch = next.value().epoch;
    parts.uuid = description.uuid;
    parts.witness_path = description.witness_path;
    for (auto& member : members) {
        const Uuid uuid = member->superblock().member;
        parts.scrub.created_s = member->superblock().created_s;
        std::string path = member->path();
        parts.members.push_back(
            {std::move(path), uuid, std::move(member), MemberState::in_sync, ""});
    }
    parts.chain_hash = blockdev::chain_start(epoch.id, epoch.previous_hash);
    co_return std::make_unique<Volume>(env, std::move(parts));
}

}  // namespace gemel::mirror
