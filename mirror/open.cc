// SPDX-License-Identifier: Apache-2.0
#include "mirror/open.h"

#include <algorithm>

#include "blockdev/assert.h"
#include "blockdev/local_member.h"
#include "mirror/configuration.h"
#include "mirror/member_search.h"
#include "mirror/settlement.h"
#include "mirror/start_rules.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredState;
using blockdev::LocalMember;
using blockdev::Member;

namespace {

// One opening, from paths to parts.
class Opening {
public:
    Opening(Env& env, VolumeDescription description, OpenOptions options)
        : env_(env), description_(std::move(description)), options_(options) {
        parts_.pool = std::make_unique<blockdev::BufferPool>(kPayloadMemory);
        parts_.cache_bytes = options.cache_bytes / std::max<size_t>(description_.members.size(), 1);
    }

    Task<Outcome<VolumeParts>> run();

private:
    Task<Outcome<StartDecision>> decide(FoundMembers& found);
    void take_members(FoundMembers found);
    Task<void> claim_members();
    Task<std::optional<Problem>> settle_members();
    Task<void> flush_members();
    Task<std::optional<Problem>> begin_epoch();
    Task<bool> write_epoch();
    ConfigurationRecord next_configuration() const;
    void mend_description();
    std::vector<size_t> in_sync() const;
    bool lacks_nothing(size_t i) const { return decision_.members[i].lacks_nothing; }

    void lose(size_t i, const std::string& why);
    Task<void> set_back(size_t i, std::string why);

    Env& env_;
    VolumeDescription description_;
    OpenOptions options_;
    VolumeParts parts_;
    StartDecision decision_;
    Settled settled_;
    Problem last_problem_;
};

std::vector<size_t> Opening::in_sync() const {
    std::vector<size_t> indices;
    for (size_t i = 0; i < parts_.members.size(); ++i) {
        if (parts_.members[i].state == MemberState::in_sync) indices.push_back(i);
    }
    return indices;
}

// The member cannot be used.
void Opening::lose(size_t i, const std::string& why) {
    MemberPart& part = parts_.members[i];
    part.member.reset();
    part.state = MemberState::missing;
    part.why = why;
    last_problem_ = {Errc::io, why};
    env_.log(LogLevel::warning, description_.name + ": " + part.path + ": missing: " + why);
}

// The member is there, but something went wrong on the way to being in sync. Nothing that was begun
// with it may be left over: it is opened anew.
Task<void> Opening::set_back(size_t i, std::string why) {
    MemberPart& part = parts_.members[i];
    part.member.reset();
    Outcome<std::unique_ptr<LocalMember>> opened =
        co_await LocalMember::open(env_, part.path, parts_.cache_bytes, *parts_.pool);
    Status claimed;
    if (opened.ok()) claimed = co_await opened.value()->claim();
    if (!opened.ok() || !claimed.ok()) {
        lose(i, why);
        co_return;
    }
    part.member = std::move(opened).value();
    part.state = MemberState::behind;
    part.why = why;
    last_problem_ = {Errc::stale, why};
    env_.log(LogLevel::warning, description_.name + ": " + part.path + ": behind: " + why);
}

Task<Outcome<StartDecision>> Opening::decide(FoundMembers& found) {
    Outcome<WitnessReading> witness =
        read_witness(env_, description_.witness_path, description_.uuid);
    if (!witness.ok() && !found.present.empty()) co_return witness.error();
    if (!witness.ok()) witness = WitnessReading{};
    std::vector<MemberEvidence> evidence = evidence_of(found.present);
    StartCase start;
    start.volume = description_.name;
    start.present = evidence;
    start.absent = found.absent;
    start.witness = witness.value().configuration;
    start.witness_problem = witness.value().problem;
    start.force = options_.force;
    if (needs_log_ends(start)) {
        for (size_t i = 0; i < evidence.size(); ++i) {
            evidence[i].log_end = co_await log_end(*found.present[i]);
        }
    }
    Outcome<StartDecision> decision = decide_start(start);
    if (!decision.ok()) co_return decision;
    for (const std::string& warning : decision.value().warnings) {
        env_.log(decision.value().forced ? LogLevel::error : LogLevel::warning,
                 description_.name + ": " + warning);
    }
    if (decision.value().witness_is_lost) {
        env_.log(LogLevel::warning, description_.name + ": the witness is " +
                                        start.witness_problem + ": it is made anew");
    }
    co_return decision;
}

// Those that are not wanted are closed, as they were.
void Opening::take_members(FoundMembers found) {
    const blockdev::Superblock& newest = found.present[decision_.newest]->superblock();
    parts_.scrub.created_s = newest.created_s;
    parts_.history.assign(newest.epochs, newest.epochs + newest.epoch_count);
    for (const MemberVerdict& verdict : decision_.members) {
        MemberPart part;
        part.uuid = verdict.uuid;
        part.state = verdict.state;
        part.why = verdict.why;
        const blockdev::ConfiguredMember& listed =
            decision_.configuration.members[parts_.members.size()];
        part.is_spare = listed.role == static_cast<uint16_t>(blockdev::MemberRole::spare);
        part.stands_in = part.is_spare && verdict.configured != ConfiguredState::spare &&
                         verdict.configured != ConfiguredState::offline;
        if (listed.replaces != 0) part.replaces = listed.replaces - 1u;
        for (const AbsentMember& absent : found.absent) {
            if (absent.uuid == verdict.uuid) part.path = absent.path;
        }
        if (verdict.evidence) {
            std::unique_ptr<Member>& member = found.present[*verdict.evidence];
            part.path = member->path();
            if (verdict.state != MemberState::offline) part.member = std::move(member);
        }
        parts_.members.push_back(std::move(part));
    }
}

Task<void> Opening::claim_members() {
    for (size_t i = 0; i < parts_.members.size(); ++i) {
        MemberPart& part = parts_.members[i];
        if (!part.member) continue;
        const Status claimed = co_await part.member->claim();
        if (!claimed.ok()) {
            lose(i, part.path + ": cannot be written: " + claimed.error().text());
        }
    }
}

Task<std::optional<Problem>> Opening::settle_members() {
    std::vector<Member*> in_chain;
    std::vector<size_t> indices;
    for (const size_t i : in_sync()) {
        if (lacks_nothing(i)) continue;
        indices.push_back(i);
        in_chain.push_back(parts_.members[i].member.get());
    }
    if (in_chain.empty()) co_return last_problem_;
    std::vector<Member*> helpers;
    for (const MemberPart& part : parts_.members) {
        const bool takes_part =
            std::find(in_chain.begin(), in_chain.end(), part.member.get()) != in_chain.end();
        if (part.member && !takes_part) helpers.push_back(part.member.get());
    }
    Outcome<Settled> settled = co_await settle(in_chain, helpers, decision_.epoch_id);
    if (!settled.ok()) co_return settled.error();
    settled_ = std::move(settled).value();
    for (size_t k = 0; k < indices.size(); ++k) {
        if (settled_.batches_healed[k] == 0) continue;
        env_.log(LogLevel::warning,
                 "event=log_healed batches=" + std::to_string(settled_.batches_healed[k]) +
                     " member=" + parts_.members[indices[k]].path);
    }
    for (const Settled::LeftOut& left_out : settled_.left_out) {
        std::string why = left_out.problem.text;
        co_await set_back(indices[left_out.member], std::move(why));
    }
    for (const size_t i : in_sync()) {
        if (!lacks_nothing(i) || settled_.batches_kept == 0) continue;
        std::string why = parts_.members[i].path +
                          ": stale: it did not take part in the last epoch, in which there were "
                          "writes";
        co_await set_back(i, std::move(why));
    }
    if (settled_.batches_kept == 0) co_return std::nullopt;
    env_.log(LogLevel::info, description_.name + ": settled after a crash: batches=" +
                                 std::to_string(settled_.batches_kept) +
                                 " completed=" + std::to_string(settled_.batches_completed) +
                                 " last_write=" + std::to_string(settled_.last_sequence));
    co_return std::nullopt;
}

// What was read may be what a killed process had written and not flushed: a loss of power now would
// take one member back behind the end of the history from which the others go on.
Task<void> Opening::flush_members() {
    for (const size_t i : in_sync()) {
        const Status flushed = co_await parts_.members[i].member->flush();
        if (flushed.ok()) continue;
        std::string why = parts_.members[i].path + ": cannot be flushed: " + flushed.error().text();
        co_await set_back(i, std::move(why));
    }
}

ConfigurationRecord Opening::next_configuration() const {
    ConfigurationRecord next =
        next_epoch(env_, decision_.configuration, settled_.last_sequence + 1, settled_.chain_hash);
    next.epoch.number = decision_.next_epoch_number;
    for (size_t i = 0; i < parts_.members.size(); ++i) {
        const bool in_sync = parts_.members[i].state == MemberState::in_sync;
        next.members[i].state = static_cast<uint32_t>(in_sync ? ConfiguredState::in_sync
                                                              : decision_.members[i].configured);
    }
    return next;
}

// On every member that is in sync in it. False if one of them failed: then it is void.
Task<bool> Opening::write_epoch() {
    parts_.configuration = next_configuration();
    bool whole = true;
    for (const size_t i : in_sync()) {
        const Status written =
            co_await parts_.members[i].member->begin_epoch(parts_.configuration, parts_.history);
        if (written.ok()) continue;
        whole = false;
        std::string why =
            parts_.members[i].path + ": the new epoch cannot be written: " + written.error().text();
        co_await set_back(i, std::move(why));
    }
    co_return whole;
}

// Once all that it follows is stable, on every member, then at the witness; only then is anything
// served.
Task<std::optional<Problem>> Opening::begin_epoch() {
    while (true) {
        if (in_sync().empty()) co_return last_problem_;
        const bool whole = co_await write_epoch();
        if (whole) break;
        ++decision_.next_epoch_number;
    }
    const Status witnessed =
        write_witness(env_, description_.witness_path, description_.uuid, parts_.configuration);
    if (!witnessed.ok()) {
        co_return Problem{witnessed.error().code,
                          description_.witness_path +
                              ": the witness cannot be written: " + witnessed.error().text()};
    }
    co_return std::nullopt;
}

// The volume file may lag behind the configuration, since it follows it. After a start without
// proof it is left as it is: what it lists may be the better members.
void Opening::mend_description() {
    if (!parts_.keep || decision_.forced) return;
    VolumeDescription description = description_;
    description.size = parts_.configuration.volume_size;
    std::erase_if(description.members, [this](const MemberDescription& member) {
        return !state_in(parts_.configuration, member.uuid);
    });
    const bool is_true = description.size == description_.size &&
                         description.members.size() == description_.members.size();
    if (is_true) return;
    const Outcome<void> kept = parts_.keep(description);
    if (kept.ok()) return;
    env_.log(LogLevel::warning, description_.name + ": " + kept.error().text);
}

Task<Outcome<VolumeParts>> Opening::run() {
    parts_.name = description_.name;
    parts_.uuid = description_.uuid;
    parts_.witness_path = description_.witness_path;
    parts_.read_only = options_.read_only;
    parts_.scrub = options_.scrub;
    parts_.limits = options_.limits;
    parts_.keep = options_.keep;
    Outcome<FoundMembers> found =
        co_await find_members(env_, description_, parts_.cache_bytes, *parts_.pool);
    if (!found.ok()) co_return found.error();
    Outcome<StartDecision> decision = co_await decide(found.value());
    if (!decision.ok()) co_return decision.error();
    decision_ = std::move(decision).value();
    take_members(std::move(found).value());
    co_await claim_members();
    const std::optional<Problem> unsettled = co_await settle_members();
    if (unsettled) co_return *unsettled;
    co_await flush_members();
    const std::optional<Problem> no_epoch = co_await begin_epoch();
    if (no_epoch) co_return *no_epoch;
    mend_description();
    const blockdev::EpochRecord& epoch = parts_.configuration.epoch;
    parts_.history.push_back(epoch);
    parts_.chain_hash = blockdev::chain_start(epoch.id, epoch.previous_hash);
    co_return std::move(parts_);
}

}  // namespace

Task<Outcome<VolumeParts>> open_parts(Env& env, VolumeDescription description,
                                      OpenOptions options) {
    Opening opening(env, std::move(description), options);
    co_return co_await opening.run();
}

Task<Outcome<std::unique_ptr<Volume>>> open_volume(Env& env, VolumeDescription description,
                                                   OpenOptions options) {
    Outcome<VolumeParts> parts = co_await open_parts(env, std::move(description), options);
    if (!parts.ok()) co_return parts.error();
    co_return std::make_unique<Volume>(env, std::move(parts).value());
}

}  // namespace gemel::mirror
