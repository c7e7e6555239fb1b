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
    bool joined = false;    // The walk has reached this member's tail.
    bool left_out = false;  // See Settled.
    uint64_t head = 0;      // Where its writer's head stood then.
    uint64_t used = 0;      // Of the ring, from its tail to the head.

    const LogTail& tail() const { return member->superblock().tail; }
};

// One batch of the chain, and which members have it.
struct Step {
    BatchRef batch;
    std::vector<bool> present;  // Per walker; true also before it joined: it is home there.
};

class Settlement {
public:
    Settlement(std::span<Member* const> members, std::span<Member* const> helpers, Uuid epoch_id) {
        for (Member* member : members) walkers_.emplace_back().member = member;
        for (Member* member : helpers) {
            walkers_.emplace_back().member = member;
            walkers_.back().left_out = true;
        }
        link_.epoch_id = epoch_id;
        settled_.batches_healed.resize(members.size());
    }

    Task<Outcome<Settled>> run();

private:
    void start_walk();
    Task<std::optional<Problem>> walk();
    std::optional<Problem> join_those_at_link();
    Task<std::optional<Problem>> find_next(Step& step);
    Task<BatchRef> find_behind_tails();
    std::optional<Problem> pass(const Step& step);
    bool leave_out_those_that_ended();
    Task<std::optional<Problem>> check_end();
    Task<std::optional<Problem>> complete_logs();
    Task<Status> complete_log(size_t index);
    Task<std::optional<Problem>> bring_all_home();
    std::optional<Problem> leave_out(Walker& walker, Problem problem);

    std::vector<Walker> walkers_;
    ChainLink link_;
    std::vector<Step> steps_;
    std::optional<Problem> unreadable_;  // Nobody could read what comes at link_.
    uint64_t stable_ = 0;                // The highest stable point that any log knows of.
    Settled settled_;
};

Task<Outcome<Settled>> Settlement::run() {
    do {
        start_walk();
        const std::optional<Problem> walked = co_await walk();
        if (walked) co_return *walked;
    } while (leave_out_those_that_ended());
    settled_.last_sequence = link_.sequence - 1;
    settled_.chain_hash = link_.previous_hash;
    settled_.batches_kept = steps_.size();
    std::optional<Problem> problem = co_await check_end();
    if (!problem) problem = co_await complete_logs();
    if (!problem) problem = co_await bring_all_home();
    if (problem) co_return *problem;
    co_return settled_;
}

// Goes on without the member if another one remains; else its problem is everybody's.
std::optional<Problem> Settlement::leave_out(Walker& walker, Problem problem) {
    const auto remain = std::count_if(walkers_.begin(), walkers_.end(),
                                      [](const Walker& other) { return !other.left_out; });
    if (remain == 1) return problem;
    walker.left_out = true;
    const auto index = static_cast<size_t>(&walker - walkers_.data());
    settled_.left_out.push_back({index, std::move(problem)});
    return std::nullopt;
}

// The walk begins at the oldest tail: whoever has the oldest content has the longest log.
void Settlement::start_walk() {
    const Walker* oldest = nullptr;
    for (Walker& walker : walkers_) {
        walker.joined = false;
        walker.used = 0;
        if (walker.left_out) continue;
        if (oldest == nullptr || walker.tail().sequence < oldest->tail().sequence) oldest = &walker;
    }
    link_.sequence = oldest->tail().sequence;
    link_.previous_hash = oldest->tail().previous_hash;
    steps_.clear();
}

Task<std::optional<Problem>> Settlement::walk() {
    while (true) {
        if (std::optional<Problem> problem = join_those_at_link()) co_return problem;
        Step step;
        std::optional<Problem> problem = co_await find_next(step);
        if (problem || !step.batch) co_return problem;
        problem = pass(step);
        if (problem) co_return problem;
        steps_.push_back(std::move(step));
    }
}

std::optional<Problem> Settlement::join_those_at_link() {
    for (Walker& walker : walkers_) {
        const LogTail& tail = walker.tail();
        if (walker.left_out || walker.joined || tail.sequence > link_.sequence) continue;
        // Batches are whole on every member: a tail inside one, or after another batch, is not
        // ours.
        if (tail.sequence != link_.sequence || tail.previous_hash != link_.previous_hash) {
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

// The batch after link_, from whichever logs have it. Where one cannot be read another one decides:
// what is not there either, it has lost or never had.
Task<std::optional<Problem>> Settlement::find_next(Step& step) {
    step.present.assign(walkers_.size(), true);
    unreadable_.reset();
    bool decided = false;
    for (size_t i = 0; i < walkers_.size(); ++i) {
        Walker& walker = walkers_[i];
        if (walker.left_out || !walker.joined) continue;
        const auto found = co_await walker.member->read_log(walker.head, link_);
        step.present[i] = found.ok() && found.value().batch != nullptr;
        decided = decided || found.ok();
        if (!found.ok() && !unreadable_) {
            unreadable_ = device_problem(*walker.member, "reading the log", found.error());
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
    if (step.batch || decided) unreadable_.reset();
    co_return std::nullopt;
}

// From a member that has it home already, or is left out: no log of those that still need it has it
// whole. Rings are written alike, so it lies where they would have it, and nothing has replaced it:
// room for a new batch is room on every member. (If a member's ring is not like the others', it is
// not found there.)
Task<BatchRef> Settlement::find_behind_tails() {
    const auto joined = std::find_if(walkers_.begin(), walkers_.end(), [](const Walker& walker) {
        return walker.joined && !walker.left_out;
    });
    CHECK(joined != walkers_.end());
    const uint64_t head = joined->head;
    for (const Walker& walker : walkers_) {
        if (walker.joined && !walker.left_out) continue;
        const auto found = co_await walker.member->read_log(head, link_);
        if (found.ok() && found.value().batch) co_return found.value().batch;
    }
    co_return BatchRef{};
}

std::optional<Problem> Settlement::pass(const Step& step) {
    const uint64_t size = step.batch->size();
    for (Walker& walker : walkers_) {
        if (walker.left_out || !walker.joined) continue;
        const uint64_t ring = walker.member->layout().log_size;
        walker.used += blockdev::ring_cost(ring, walker.head, size);
        walker.head = blockdev::ring_place(ring, walker.head, size) + size;
        if (walker.used <= ring) continue;
        std::optional<Problem> problem = leave_out(
            walker, {Errc::corrupt, walker.member->path() +
                                        ": what it should have in its log is more than that "
                                        "holds: its superblock is older than what it wrote"});
        if (problem) return problem;
    }
    link_.sequence = step.batch->last_sequence() + 1;
    link_.previous_hash = step.batch->hash();
    return std::nullopt;
}

// Those that have joined end where the others have all of it home, and more: they lost what lies
// between. The others prove that it was there, and hold it.
bool Settlement::leave_out_those_that_ended() {
    const auto latest =
        std::max_element(walkers_.begin(), walkers_.end(), [](const Walker& a, const Walker& b) {
            return std::pair(!a.left_out, a.tail().sequence.get()) <
                   std::pair(!b.left_out, b.tail().sequence.get());
        });
    if (latest->joined) return false;
    for (Walker& walker : walkers_) {
        if (walker.left_out || !walker.joined) continue;
        const std::optional<Problem> problem = leave_out(
            walker, {Errc::stale, walker.member->path() + ": stale: its log ends at write " +
                                      std::to_string(link_.sequence - 1) + ", and that of " +
                                      latest->member->path() + " begins at write " +
                                      std::to_string(latest->tail().sequence) + " only"});
        CHECK(!problem);  // `latest` remains.
    }
    return true;
}

// The end must be an end: not a place that nobody could read, and not a hole at or below the stable
// point.
Task<std::optional<Problem>> Settlement::check_end() {
    if (unreadable_) co_return unreadable_;
    for (const Walker& walker : walkers_) {
        if (walker.member->closed_cleanly()) continue;
        // Of one that cannot be read at all the others tell.
        const Result<uint64_t> point = co_await walker.member->highest_stable_point(link_.epoch_id);
        if (point.ok()) stable_ = std::max(stable_, point.value());
    }
    if (stable_ > settled_.last_sequence) {
        co_return Problem{Errc::corrupt,
                          "the logs are damaged: writes " +
                              std::to_string(settled_.last_sequence + 1) + " to " +
                              std::to_string(stable_) +
                              " were stable and are whole on no member; the volume stays closed "
                              "rather than lose them"};
    }
    co_return std::nullopt;
}

// Puts what the member lacks into its ring, and all of the chain into its memory.
Task<Status> Settlement::complete_log(size_t index) {
    Member& member = *walkers_[index].member;
    uint64_t head = walkers_[index].tail().ring_offset;
    for (const Step& step : steps_) {
        if (step.batch->first_sequence() < walkers_[index].tail().sequence) continue;
        const uint64_t offset =
            blockdev::ring_place(member.layout().log_size, head, step.batch->size());
        head = offset + step.batch->size();
        if (!step.present[index]) {
            const bool was_stable = step.batch->last_sequence() <= stable_;
            const Status written = co_await member.complete_log(step.batch, offset, was_stable);
            if (!written.ok()) co_return written;
            ++settled_.batches_completed;
            if (was_stable) ++settled_.batches_healed[index];
        }
        member.adopt(step.batch, offset);
    }
    co_return Status::success();
}

Task<std::optional<Problem>> Settlement::complete_logs() {
    if (steps_.empty()) co_return std::nullopt;
    for (size_t i = 0; i < walkers_.size(); ++i) {
        if (walkers_[i].left_out) continue;
        const Status completed = co_await complete_log(i);
        if (completed.ok()) continue;
        std::optional<Problem> problem =
            leave_out(walkers_[i],
                      device_problem(*walkers_[i].member, "completing the log", completed.error()));
        if (problem) co_return problem;
    }
    for (Walker& walker : walkers_) {
        if (walker.left_out) continue;
        const Status flushed = co_await walker.member->flush();
        if (flushed.ok()) continue;
        std::optional<Problem> problem =
            leave_out(walker, device_problem(*walker.member, "flushing the log", flushed.error()));
        if (problem) co_return problem;
    }
    co_return std::nullopt;
}

Task<std::optional<Problem>> Settlement::bring_all_home() {
    for (Walker& walker : walkers_) {
        if (walker.left_out) continue;
        // Those whose tables help where its own are damaged, with itself.
        std::vector<Member*> members{walker.member};
        for (const Walker& other : walkers_) {
            if (!other.left_out && &other != &walker) members.push_back(other.member);
        }
        std::optional<Problem> problem = co_await bring_home(members, 0, settled_.last_sequence);
        if (!problem) continue;
        // Space can be made, without a resync.
        if (problem->code == Errc::no_space) co_return problem;
        problem = leave_out(walker, std::move(*problem));
        if (problem) co_return problem;
    }
    co_return std::nullopt;
}

}  // namespace

Task<Outcome<Settled>> settle(std::span<Member* const> in_chain, std::span<Member* const> helpers,
                              Uuid epoch_id) {
    Settlement settlement(in_chain, helpers, epoch_id);
    co_return co_await settlement.run();
}

// Home must not be ahead of the log: if that were gone after a loss of power, nothing would tell
// which blocks at home have changed. What can be read of the log need not be durable, and if a
// flush has failed before, the next one may succeed and cover nothing of it: it is written again.
Task<Outcome<Settled>> settle_alone(Member& member) {
    Settled settled;
    OwnChain chain(member);
    while (true) {
        const Member::Logged logged = co_await chain.next();
        if (logged.batch == nullptr) break;
        const Status written = co_await member.complete_log(logged.batch, logged.offset, false);
        if (!written.ok()) co_return device_problem(member, "writing the log", written.error());
        member.adopt(logged.batch, logged.offset);
        ++settled.batches_kept;
    }
    settled.last_sequence = chain.link().sequence - 1;
    settled.chain_hash = chain.link().previous_hash;
    if (settled.batches_kept != 0) {
        const Status flushed = co_await member.flush();
        if (!flushed.ok()) co_return device_problem(member, "flushing the log", flushed.error());
    }
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
