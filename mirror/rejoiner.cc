// SPDX-License-Identifier: Apache-2.0
#include "mirror/rejoiner.h"

#include <algorithm>

#include "blockdev/assert.h"
#include "blockdev/superblock.h"
#include "mirror/settlement.h"

namespace gemel::mirror {

using blockdev::LocalMember;
using blockdev::Superblock;

namespace {

// One that was in sync for so long has earned our patience again.
constexpr uint64_t kForgiven_ns = 60 * kSecond;

}  // namespace

Rejoiner::Rejoiner(Env& env, MemberSet& members, Resync& resync, HealthKeeper& health,
                   blockdev::BufferPool& pool, Options options, FailureSink on_failure)
    : env_(env),
      members_(members),
      resync_(resync),
      health_(health),
      pool_(pool),
      options_(options),
      on_failure_(std::move(on_failure)) {}

void Rejoiner::stop() {
    stopping_ = true;
    members_.changed().notify_all();
}

bool Rejoiner::quiet() const {
    return std::all_of(reopenings_.begin(), reopenings_.end(),
                       [](const auto& reopening) { return !reopening || reopening->ended(); });
}

void Rejoiner::let_go() {
    for (std::unique_ptr<Reopening>& reopening : reopenings_) {
        Reopening::let_go(std::move(reopening));
    }
}

void Rejoiner::hurry(size_t index) {
    patience_[index].due_ns = 0;
    patience_[index].wait_ns = kFirstWait_ns;
    members_.changed().notify_all();
}

void Rejoiner::wait_longer(size_t index) {
    Patience& patience = patience_[index];
    patience.due_ns = env_.now_ns() + patience.wait_ns;
    patience.wait_ns = std::min(patience.wait_ns * 2, kLastWait_ns);
}

Task<void> Rejoiner::run() {
    while (!stopping_) {
        for (size_t i = 0; i < members_.size() && !stopping_; ++i) co_await look_after(i);
        if (stopping_) break;
        co_await members_.changed().wait_until(next_look_ns());
    }
}

// UINT64_MAX: there is nothing to wait for but a change.
uint64_t Rejoiner::next_look_ns() const {
    const uint64_t now = env_.now_ns();
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        switch (slot.state) {
            case MemberState::failed:
            case MemberState::offline:
            case MemberState::removed:
            case MemberState::spare:
                if (slot.guard && slot.guard->given_up()) {
                    next = std::min(next, now + kPoll_ns);
                    break;
                }
                if (!is_wanted(i)) break;
                [[fallthrough]];
            case MemberState::missing:
            case MemberState::behind:
            case MemberState::adding:
                // One that is being opened says when it has come to its end; nobody may have
                // listened then.
                if (slot.leaving || (reopenings_[i] && !reopenings_[i]->ended())) break;
                next = std::min(next, std::max(now + 1, patience_[i].due_ns));
                break;
            default: break;
        }
    }
    return next;
}

Task<void> Rejoiner::look_after(size_t index) {
    const MemberSet::Slot& slot = members_[index];
    Patience& patience = patience_[index];
    if (slot.state == MemberState::in_sync) {
        if (patience.in_sync_since_ns == 0) patience.in_sync_since_ns = env_.now_ns();
        co_return;
    }
    if (patience.in_sync_since_ns != 0) {
        if (env_.now_ns() - patience.in_sync_since_ns > kForgiven_ns) {
            patience.wait_ns = kFirstWait_ns;
        }
        patience.in_sync_since_ns = 0;
    }
    if (slot.leaving) co_return;
    switch (slot.state) {
        case MemberState::offline:
        case MemberState::removed:
            release_when_quiet(index);
            // Nobody wants what was being opened; it must not keep the lock.
            if (reopenings_[index] && reopenings_[index]->ended()) reopenings_[index].reset();
            break;
        case MemberState::failed:
        case MemberState::missing:
        case MemberState::spare:
            release_when_quiet(index);
            if (!slot.guard && env_.now_ns() >= patience.due_ns) reopen(index);
            break;
        case MemberState::behind:
        case MemberState::adding:
            if (env_.now_ns() < patience.due_ns) break;
            if (slot.guard) {
                co_await bring_back(index);
            } else {
                reopen(index);
            }
            break;
        default: break;
    }
}

// Only then may anybody else touch it, we ourselves included: a write that is still on its way
// would land on top of newer ones.
void Rejoiner::release_when_quiet(size_t index) {
    const MemberSet::Slot& slot = members_[index];
    if (!slot.guard || !slot.guard->given_up() || !slot.guard->quiet()) return;
    members_.retire(index);
    if (slot.state == MemberState::failed) wait_longer(index);
}

bool Rejoiner::is_wanted(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    if (stopping_ || slot.leaving || slot.member != nullptr) return false;
    return slot.state == MemberState::missing || slot.state == MemberState::failed ||
           slot.state == MemberState::adding || slot.state == MemberState::spare;
}

void Rejoiner::forget(size_t index) {
    CHECK(!holds(index));
    patience_[index] = Patience{};
}

void Rejoiner::reopen(size_t index) {
    const MemberSet::Slot& slot = members_[index];
    if (!reopenings_[index]) {
        reopenings_[index] = std::make_unique<Reopening>(
            env_, pool_, members_.changed(),
            Reopening::Wanted{slot.path, options_.volume, slot.uuid,
                              blockdev::to_record(members_.layout()), options_.cache_bytes});
    }
    auto result = reopenings_[index]->take_result();
    if (!result) return;
    reopenings_[index].reset();
    if (!is_wanted(index)) return;  // Then it is closed again.
    if (result->ok()) return take_back(index, std::move(*result).value());
    wait_longer(index);
    const std::string& problem = result->error().text;
    if (slot.why == problem) return;
    env_.log(LogLevel::warning, "event=member_missing why=\"" + problem + "\"");
    members_.move(index, MemberState::missing, problem);
}

void Rejoiner::take_back(size_t index, std::unique_ptr<LocalMember> member) {
    const MemberSet::Slot& slot = members_[index];
    member->resume_counters(slot.last_counters);
    members_.take_in(env_, index, std::move(member));
    patience_[index].due_ns = 0;
    if (slot.is_spare && !slot.stands_in) {
        members_.move(index, MemberState::spare);
    } else if (slot.state != MemberState::adding) {
        members_.move(index, MemberState::behind, slot.why);
    }
    env_.log(LogLevel::info, "event=member_found member=" + slot.path);
}

Task<void> Rejoiner::bring_back(size_t index) {
    MemberSet::Slot& slot = members_[index];
    current_ = index;
    const Status status = co_await bring_up_to_date(index);
    current_.reset();
    if (status.ok()) {
        patience_[index].from_nothing = false;
        const ResyncReport report = resync_.report();
        health_.note(index, "event=member_in_sync pages=" + std::to_string(report.pages) +
                                " copied=" + std::to_string(report.blocks_copied) +
                                " zeroed=" + std::to_string(report.blocks_zeroed) +
                                " unrecoverable=" + std::to_string(report.blocks_unrecoverable));
        co_return;
    }
    wait_longer(index);
    if (status.error().code == Errc::corrupt) patience_[index].from_nothing = true;
    if (stopping_ || !members_.in_use(index) || slot.state == MemberState::diverged) co_return;
    // It has joined the chain, or something of it is half done: it begins anew from its superblock.
    on_failure_({index, "resync", status.error()});
}

Task<Status> Rejoiner::bring_up_to_date(size_t index) {
    const Result<ResyncBase> base = co_await find_base(index);
    if (!base.ok()) co_return base.error();
    MemberSet::Slot& slot = members_[index];
    if (stopping_ || !members_.in_use(index)) co_return Error{Errc::closed, 0, "resync"};
    env_.log(LogLevel::info, "event=resync_begins member=" + slot.path +
                                 " base=" + std::to_string(base.value().sequence) +
                                 " cursor=" + std::to_string(base.value().cursor));
    co_return co_await resync_.run(index, base.value());
}

// What is in its log belongs to its history, and comes home first.
Task<Result<ResyncBase>> Rejoiner::find_base(size_t index) {
    MemberSet::Slot& slot = members_[index];
    bool from_nothing = patience_[index].from_nothing;
    uint64_t log_end = 0;
    if (!from_nothing) {
        const Outcome<Settled> settled = co_await settle_alone(*slot.member);
        if (stopping_ || !members_.in_use(index)) co_return Error{Errc::closed, 0, "resync"};
        if (settled.ok()) {
            log_end = settled.value().last_sequence;
        } else if (settled.error().code == Errc::corrupt) {
            env_.log(LogLevel::warning, settled.error().text);
            from_nothing = true;
        } else {
            co_return Error{settled.error().code, 0, "bringing its log home"};
        }
    }
    if (from_nothing) {
        const Status forgotten = co_await slot.member->forget_content();
        if (!forgotten.ok()) co_return forgotten.error();
        co_return ResyncBase{};
    }
    std::vector<Uuid> in_sync;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.readable(i)) in_sync.push_back(members_[i].uuid);
    }
    const Superblock& own = slot.member->superblock();
    const History volume = resync_.history();
    if (slot.state == MemberState::behind && has_diverged(own, log_end, volume, in_sync)) {
        members_.move(index, MemberState::diverged,
                      "holds writes of a history of its own (split brain)");
        co_return Error{Errc::stale, 0, "split brain"};
    }
    co_return resync_base(own, log_end, volume);
}

}  // namespace gemel::mirror
