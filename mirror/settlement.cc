// SPDX-License-Identifier: Apache-2.0
#include "mirror/settlement.h"

#include <algorithm>
#include <vector>

#include "blockdev/assert.h"
#include "blockdev/log_ring.h"
#include "mirror/table_peers.h"

namespace gemel::mirror {

using blockdev::BatchRef;
using blockdev::ChainLink;
using blockdev::LogTail;
using blockdev::Member;

namespace {

// Nobody else is there yet: all at once, as far as it is worth while.
constexpr uint64_t kSliceBytes = 64 * blockdev::kMiB;
constexpr size_t kWindow = 32;

Problem device_problem(const Member& member, const char* what, const Error& error) {
    return {error.code, member.path() + ": settlement: " + what + ": " + error.text()};
}

// Everything up to `sequence` on members[index]; the others help where its tables are damaged.
Task<std::optional<Problem>> bring_home(std::span<Member* const> members, size_t index,
                                        uint64_t sequence) {
    Member& member = *members[index];
    std::optional<uint64_t> last_repaired;  // The same one again: it was no help.
    while (member.log_bytes_used() != 0) {
        const Status status = co_await member.checkpoint(sequence, kSliceBytes, kWindow);
        if (status.ok()) continue;
        const std::optional<uint64_t> damaged = member.take_suspect_page();
        const bool table = status.error().code == Errc::corrupt;
        if (table && damaged && damaged != last_repaired) {
            last_repaired = damaged;
            const Status repaired = co_await repair_table(members, index, *damaged);
            if (repaired.ok()) continue;
        }
        if (status.error().code == Errc::no_space) {
            co_return Problem{Errc::no_space,
                              member.path() +
                                  ": its file system is full, so the log cannot be brought home; "
                                  "nothing is lost: make space and start again"};
        }
        co_return device_problem(member, "bringing the log home", status.error());
    }
    co_return std::nullopt;
}

// The batches of one member's log, as far as it holds them by itself.
class OwnChain {
public:
    explicit OwnChain(Member& member) : member_(member) {
        const LogTail& tail = member.superblock().tail;
        link_ = {member.superblock().configuration.epoch.id, tail.sequence, tail.previous_hash};
        head_ = tail.ring_offset;
    }

    const ChainLink& link() const { return link_; }

    // No batch: the end.
    Task<Member::Logged> next() {
        const Result<Member::Logged> found = co_await member_.read_log(head_, link_);
        if (!found.ok() || found.value().batch == nullptr) co_return Member::Logged{};
        const Member::Logged& logged = found.value();
        const uint64_t ring = member_.layout().log_size;
        const uint64_t size = logged.batch->size();
        used_ += blockdev::ring_cost(ring, head_, size);
        // The reader looks where a smaller batch might be, too; the writer puts each in one place.
        if (used_ > ring || logged.offset != blockdev::ring_place(ring, head_, size)) {
            co_return Member::Logged{};
        }
        head_ = logged.offset + size;
        link_.sequence = logged.batch->last_sequence() + 1;
        link_.previous_hash = logged.batch->hash();
        co_return logged;
    }

private:
    Member& member_;
    ChainLink link_;
    uint64_t head_ = 0;
    uint64_t used_ = 0;
};

// How far the walk has come in one member's log.
struct Walker {
    Member* member = nullptr;
    bool joined = false;  // The walk has reached this member's tail.
    uint64_t head = 0;    // Where its writer's head stood then.
    uint64_t used = 0;    // Of the ring, from its tail to the head.
};

// One batch of the chain, and which members have it.
struct Step {
    BatchRef batch;
    std::vector<bool> present;  // Per walker; true also before it joined: it is home there.
};

class Settlement {
public:
    Settlement(std::span<Member* const> members, Uuid epoch_id) {
        for (Member* member : members) walkers_.push_back({member, false, 0});
        link_.epoch_id = epoch_id;
    }

    Task<Outcome<Settled>> run();

private:
    std::optional<Problem> join_those_at(uint64_t sequence);
    Task<Outcome<bool>> find_next();
    Task<BatchRef> find_behind_tails();
    Task<Outcome<bool>> check_end();
    Task<Outcome<bool>> complete_logs();
    Task<Outcome<bool>> bring_all_home();

    std::vector<Walker> walkers_;
    ChainLink link_;
    std::vector<Step> steps_;
    Settled settled_;
};

Task<Outcome<Settled>> Settlement::run() {
    // The walk begins at the oldest tail: whoever has the oldest content has the longest log.
    const auto oldest =
        std::min_element(walkers_.begin(), walkers_.end(), [](const Walker& a, const Walker& b) {
            return a.member->superblock().tail.sequence < b.member->superblock().tail.sequence;
        });
    link_.sequence = oldest->member->superblock().tail.sequence;
    link_.previous_hash = oldest->member->superblock().tail.previous_hash;
    while (true) {
        if (std::optional<Problem> problem = join_those_at(link_.sequence)) co_return *problem;
        const Outcome<bool> more = co_await find_next();
        if (!more.ok()) co_return more.error();
        if (!more.value()) break;
    }
    settled_.last_sequence = link_.sequence - 1;
    settled_.chain_hash = link_.previous_hash;
    settled_.batches_kept = steps_.size();
    const Outcome<bool> ended = co_await check_end();
    if (!ended.ok()) co_return ended.error();
    const Outcome<bool> completed = co_await complete_logs();
    if (!completed.ok()) co_return completed.error();
    const Outcome<bool> home = co_await bring_all_home();
    if (!home.ok()) co_return home.error();
    co_return settled_;
}

std::optional<Problem> Settlement::join_those_at(uint64_t sequence) {
    for (Walker& walker : walkers_) {
        const LogTail& tail = walker.member->superblock().tail;
        if (walker.joined || tail.sequence > sequence) continue;
        // Batches are whole on every member: a tail inside one, or after another batch, is not
        // ours.
        if (tail.sequence != sequence || tail.previous_hash != link_.previous_hash) {
            return Problem{Errc::stale, walker.member->path() +
                                            ": its history does not join that of the "
                                            "other members at write " +
                                            std::to_string(tail.sequence) + " (split brain)"};
        }
        walker.joined = true;
        walker.head = tail.ring_offset;
    }
    return std::nullopt;
}

// The batch after link_, from whichever logs have it. False at the end of the chain. Where a log
// cannot be read another one decides: what is not there either, it has lost or never had.
Task<Outcome<bool>> Settlement::find_next() {
    Step step;
    step.present.assign(walkers_.size(), true);
    bool decided = false;
    std::optional<Problem> unreadable;
    for (size_t i = 0; i < walkers_.size(); ++i) {
        Walker& walker = walkers_[i];
        if (!walker.joined) continue;
        const auto found = co_await walker.member->read_log(walker.head, link_);
        step.present[i] = found.ok() && found.value().batch != nullptr;
        decided = decided || found.ok();
        if (!found.ok() && !unreadable) {
            unreadable = device_problem(*walker.member, "reading the log", found.error());
        }
        if (!step.present[i]) continue;
        if (step.batch && step.batch->hash() != found.value().batch->hash()) {
            co_return Problem{Errc::stale, walker.member->path() + ": holds another write " +
                                               std::to_string(link_.sequence) +
                                               " than the other members (split brain)"};
        }
        step.batch = found.value().batch;
    }
    if (!step.batch) step.batch = co_await find_behind_tails();
    if (!step.batch && !decided) co_return *unreadable;
    if (!step.batch) co_return false;
    const uint64_t size = step.batch->size();
    for (Walker& walker : walkers_) {
        if (!walker.joined) continue;
        const uint64_t ring = walker.member->layout().log_size;
        walker.used += blockdev::ring_cost(ring, walker.head, size);
        if (walker.used > ring) {
            co_return Problem{Errc::corrupt, walker.member->path() +
                                                 ": the history is longer than its log; no writer "
                                                 "of Gemel leaves it so"};
        }
        walker.head = blockdev::ring_place(ring, walker.head, size) + size;
    }
    link_.sequence = step.batch->last_sequence() + 1;
    link_.previous_hash = step.batch->hash();
    steps_.push_back(std::move(step));
    co_return true;
}

// From a member that has it home already: no log of those that still need it has it whole. Rings
// are written alike, so it lies where they would have it, and nothing has replaced it: room for a
// new batch is room on every member.
Task<BatchRef> Settlement::find_behind_tails() {
    const auto joined = std::find_if(walkers_.begin(), walkers_.end(),
                                     [](const Walker& walker) { return walker.joined; });
    CHECK(joined != walkers_.end());
    const uint64_t head = joined->head;
    for (const Walker& walker : walkers_) {
        if (walker.joined) continue;
        const auto found = co_await walker.member->read_log(head, link_);
        if (found.ok() && found.value().batch) co_return found.value().batch;
    }
    co_return BatchRef{};
}

// The end must be an end: behind every member's tail, and not a hole at or below the stable point.
Task<Outcome<bool>> Settlement::check_end() {
    uint64_t stable = 0;
    for (const Walker& walker : walkers_) {
        if (!walker.joined) {
            co_return Problem{Errc::stale,
                              walker.member->path() + ": begins at write " +
                                  std::to_string(walker.member->superblock().tail.sequence) +
                                  ", which the other members' logs do not reach (they end at " +
                                  std::to_string(settled_.last_sequence) +
                                  "): one of them is stale"};
        }
        if (walker.member->closed_cleanly()) continue;
        const Result<uint64_t> point = co_await walker.member->highest_stable_point(link_.epoch_id);
        if (!point.ok()) {
            co_return device_problem(*walker.member, "reading the log", point.error());
        }
        stable = std::max(stable, point.value());
    }
    if (stable > settled_.last_sequence) {
        co_return Problem{Errc::corrupt,
                          "the logs are damaged: writes " +
                              std::to_string(settled_.last_sequence + 1) + " to " +
                              std::to_string(stable) +
                              " were stable and are whole on no member; the volume stays closed "
                              "rather than lose them"};
    }
    co_return true;
}

Task<Outcome<bool>> Settlement::complete_logs() {
    if (steps_.empty()) co_return true;
    for (size_t i = 0; i < walkers_.size(); ++i) {
        Member& member = *walkers_[i].member;
        uint64_t head = member.superblock().tail.ring_offset;
        for (const Step& step : steps_) {
            if (step.batch->first_sequence() < member.superblock().tail.sequence) continue;
            const uint64_t offset =
                blockdev::ring_place(member.layout().log_size, head, step.batch->size());
            head = offset + step.batch->size();
            if (!step.present[i]) {
                const Status written = co_await member.complete_log(step.batch, offset);
                if (!written.ok()) {
                    co_return device_problem(member, "completing the log", written.error());
                }
                ++settled_.batches_completed;
            }
            member.adopt(step.batch, offset);
        }
    }
    for (const Walker& walker : walkers_) {
        const Status flushed = co_await walker.member->flush();
        if (!flushed.ok()) {
            co_return device_problem(*walker.member, "flushing the log", flushed.error());
        }
    }
    co_return true;
}

Task<Outcome<bool>> Settlement::bring_all_home() {
    std::vector<Member*> members;
    for (const Walker& walker : walkers_) members.push_back(walker.member);
    for (size_t i = 0; i < members.size(); ++i) {
        const std::optional<Problem> problem =
            co_await bring_home(members, i, settled_.last_sequence);
        if (problem) co_return *problem;
    }
    co_return true;
}

}  // namespace

Task<Outcome<Settled>> settle(std::span<Member* const> in_chain, Uuid epoch_id) {
    Settlement settlement(in_chain, epoch_id);
    co_return co_await settlement.run();
}

Task<Outcome<Settled>> settle_alone(Member& member) {
    Settled settled;
    OwnChain chain(member);
    while (true) {
        const Member::Logged logged = co_await chain.next();
        if (logged.batch == nullptr) break;
        member.adopt(logged.batch, logged.offset);
        ++settled.batches_kept;
    }
    settled.last_sequence = chain.link().sequence - 1;
    settled.chain_hash = chain.link().previous_hash;
    Member* const alone[] = {&member};
    const std::optional<Problem> problem = co_await bring_home(alone, 0, settled.last_sequence);
    if (problem) co_return *problem;
    co_return settled;
}

Task<uint64_t> log_end(Member& member) {
    OwnChain chain(member);
    while (true) {
        const Member::Logged logged = co_await chain.next();
        if (logged.batch == nullptr) co_return chain.link().sequence - 1;
    }
}

}  // namespace gemel::mirror
