// SPDX-License-Identifier: Apache-2.0
#include "mirror/create.h"

#include <algorithm>

#include "blockdev/format_member.h"
#include "blockdev/local_member.h"
#include "mirror/configuration.h"
#include "mirror/member_search.h"
#include "mirror/new_member.h"
#include "mirror/settlement.h"
#include "mirror/start_rules.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::Layout;
using blockdev::MemberIdentity;
using blockdev::NewMember;

namespace {

constexpr uint64_t kDefaultGrowth = 4;

// Members, then spares: the order in the configuration.
std::vector<std::string> all_paths(const CreateOptions& options) {
    std::vector<std::string> paths = options.members;
    paths.insert(paths.end(), options.spares.begin(), options.spares.end());
    return paths;
}

std::optional<Problem> check_options(const CreateOptions& options) {
    if (options.size == 0 || options.size % blockdev::kBlockSize != 0) {
        return Problem{Errc::invalid, "the size must be a multiple of 4096 bytes and not 0, not " +
                                          std::to_string(options.size)};
    }
    if (options.size > blockdev::kMaximumVolumeSize ||
        options.max_size > blockdev::kMaximumVolumeSize) {
        return Problem{Errc::invalid, "a volume can have at most " +
                                          std::to_string(blockdev::kMaximumVolumeSize >> 40) +
                                          " TiB"};
    }
    if (options.max_size != 0 && options.max_size < options.size) {
        return Problem{Errc::invalid, "the maximum size is smaller than the size"};
    }
    if (options.log_size % blockdev::kMiB != 0 || options.log_size < blockdev::kMinimumLogSize ||
        options.log_size > blockdev::kMaximumLogSize) {
        return Problem{Errc::invalid,
                       "the log size must be a multiple of 1 MiB from 4 MiB to "
                       "64 GiB"};
    }
    if (options.log_limit == 0 || options.log_limit % blockdev::kBlockSize != 0 ||
        options.log_limit > (512ull << 10)) {
        return Problem{Errc::invalid,
                       "the log limit must be a multiple of 4096 bytes, at most 512 KiB"};
    }
    const std::vector<std::string> paths = all_paths(options);
    if (options.members.size() < 2 || paths.size() > blockdev::kMaximumMembers) {
        return Problem{Errc::invalid, "a mirror needs 2 to 16 members, its spares counted, not " +
                                          std::to_string(paths.size())};
    }
    for (auto path = paths.begin(); path != paths.end(); ++path) {
        if (std::find(paths.begin(), path, *path) == path) continue;
        return Problem{Errc::invalid, *path + ": is given twice; each member once"};
    }
    return std::nullopt;
}

Layout layout_for(const CreateOptions& options) {
    const uint64_t growth = std::min(options.size * kDefaultGrowth, blockdev::kMaximumVolumeSize);
    const uint64_t maximum = options.max_size != 0 ? options.max_size : growth;
    Layout layout = blockdev::make_layout(options.size, maximum, options.log_size);
    layout.log_limit = static_cast<uint32_t>(options.log_limit);
    layout.preallocated = options.preallocate;
    return layout;
}

Task<std::optional<Problem>> open_all(Env& env, const CreateOptions& options,
                                      std::vector<NewMember>& members) {
    for (const std::string& path : all_paths(options)) {
        Outcome<NewMember> member = co_await blockdev::open_new_member(env, path, options.force);
        if (!member.ok()) co_return member.error();
        members.push_back(std::move(member).value());
    }
    co_return std::nullopt;
}

Task<std::optional<Problem>> format_all(Env& env, const CreateOptions& options,
                                        const Layout& layout, std::vector<NewMember>& members,
                                        VolumeDescription& description) {
    for (NewMember& member : members) {
        const Status prepared =
            co_await blockdev::prepare_member(env, *member.disk, layout, options.force);
        if (!prepared.ok()) {
            co_return Problem{prepared.error().code,
                              member.path + ": cannot be prepared: " + prepared.error().text()};
        }
    }
    std::vector<Uuid> uuids;
    for (const MemberDescription& member : description.members) uuids.push_back(member.uuid);
    const ConfigurationRecord configuration =
        first_configuration(env, uuids, layout.volume_size, options.spares.size());
    MemberIdentity identity;
    identity.volume = description.uuid;
    identity.name = description.name;
    identity.created_s = env.wall_clock_s();
    fill_random(env, identity.secret);
    for (size_t i = 0; i < members.size(); ++i) {
        identity.member = uuids[i];
        const Status finished = co_await blockdev::finish_member(env, *members[i].disk, layout,
                                                                 identity, configuration);
        if (!finished.ok()) {
            co_return Problem{finished.error().code,
                              members[i].path + ": cannot be written: " + finished.error().text()};
        }
    }
    const Status witnessed =
        write_witness(env, description.witness_path, description.uuid, configuration);
    if (!witnessed.ok()) {
        co_return Problem{witnessed.error().code,
                          description.witness_path +
                              ": the witness cannot be written: " + witnessed.error().text()};
    }
    co_return std::nullopt;
}

void clean_up(Env& env, std::vector<NewMember>& members) {
    for (NewMember& member : members) {
        const Status undone = blockdev::abandon_member(env, member);
        if (undone.ok()) continue;
        env.log(LogLevel::warning,
                member.path + ": what was done to it cannot be undone: " + undone.error().text());
    }
}

}  // namespace

Task<Outcome<VolumeDescription>> create_volume(Env& env, CreateOptions options) {
    if (std::optional<Problem> problem = check_options(options)) co_return *problem;
    const Layout layout = layout_for(options);
    VolumeDescription description;
    description.name = options.name;
    description.uuid = make_uuid(env);
    description.size = options.size;
    description.witness_path = options.witness_path;
    for (const std::string& path : all_paths(options)) {
        description.members.push_back({path, make_uuid(env)});
    }
    std::vector<NewMember> members;
    std::optional<Problem> problem = co_await open_all(env, options, members);
    if (!problem) problem = check_room(members, layout);
    if (!problem) problem = co_await format_all(env, options, layout, members, description);
    if (problem) {
        clean_up(env, members);
        co_return *problem;
    }
    co_return description;
}

namespace {

// By the rules for starting; a witness that is lost is written anew.
Task<std::optional<Problem>> prove_newest(
    Env& env, const std::vector<std::unique_ptr<blockdev::Member>>& members,
    std::string witness_path) {
    const blockdev::Superblock& first = members.front()->superblock();
    Outcome<WitnessReading> witness = read_witness(env, witness_path, first.volume);
    if (!witness.ok()) co_return witness.error();
    std::vector<MemberEvidence> evidence = evidence_of(members);
    for (size_t i = 0; i < members.size(); ++i) {
        evidence[i].log_end = co_await log_end(*members[i]);
    }
    StartCase start;
    start.volume = blockdev::volume_name(first);
    start.present = evidence;
    start.witness = witness.value().configuration;
    start.witness_problem = witness.value().problem;
    const Outcome<StartDecision> decision = decide_start(start);
    if (!decision.ok()) co_return decision.error();
    for (const std::string& warning : decision.value().warnings) {
        env.log(LogLevel::warning, start.volume + ": " + warning);
    }
    if (!decision.value().witness_is_lost) co_return std::nullopt;
    const Status written =
        write_witness(env, witness_path, first.volume, decision.value().configuration);
    if (written.ok()) co_return std::nullopt;
    co_return Problem{written.error().code,
                      witness_path + ": the witness cannot be written: " + written.error().text()};
}

// In the order of `paths`. What cannot be opened is tried once more, when another one has told
// where superblock B must be.
Task<std::optional<Problem>> open_all(Env& env, const std::vector<std::string>& paths,
                                      blockdev::BufferPool& pool,
                                      std::vector<std::unique_ptr<blockdev::Member>>& members) {
    members.resize(paths.size());
    uint64_t superblock_b = 0;
    std::optional<Problem> problem;
    for (int attempt = 0; attempt < 2; ++attempt) {
        problem.reset();
        for (size_t i = 0; i < paths.size(); ++i) {
            if (members[i]) continue;
            Outcome<std::unique_ptr<blockdev::LocalMember>> member =
                co_await blockdev::LocalMember::open(env, paths[i], 0, pool, superblock_b);
            if (!member.ok() && !problem) problem = member.error();
            if (!member.ok()) continue;
            superblock_b = member.value()->layout().superblock_b_offset;
            members[i] = std::move(member).value();
        }
        const bool may_help = problem && superblock_b != 0 &&
                              (problem->code == Errc::invalid || problem->code == Errc::corrupt);
        if (!may_help) break;
    }
    co_return problem;
}

}  // namespace

Task<Outcome<VolumeDescription>> assemble_volume(Env& env, std::vector<std::string> paths,
                                                 std::string witness_path) {
    blockdev::BufferPool pool(0);
    std::vector<std::unique_ptr<blockdev::Member>> members;
    const std::optional<Problem> unreadable = co_await open_all(env, paths, pool, members);
    if (unreadable) co_return *unreadable;
    if (members.empty()) co_return Problem{Errc::invalid, "give the paths of the members"};
    const blockdev::Superblock& first = members.front()->superblock();
    for (const auto& member : members) {
        const blockdev::Superblock& other = member->superblock();
        if (other.volume == first.volume) continue;
        co_return Problem{Errc::invalid, member->path() + ": belongs to another volume (" +
                                             blockdev::volume_name(other) + ", " +
                                             other.volume.text() + "); check the path"};
    }
    const std::optional<Problem> refused = co_await prove_newest(env, members, witness_path);
    if (refused) co_return *refused;
    VolumeDescription description;
    description.name = blockdev::volume_name(first);
    description.uuid = first.volume;
    description.size = first.configuration.volume_size;
    description.witness_path = witness_path;
    for (const auto& member : members) {
        description.members.push_back({member->path(), member->superblock().member});
    }
    co_return description;
}

}  // namespace gemel::mirror
