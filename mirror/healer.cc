// SPDX-License-Identifier: Apache-2.0
#include "mirror/healer.h"

#include <algorithm>
#include <string>

#include "mirror/table_peers.h"

namespace gemel::mirror {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::Member;

namespace {

constexpr size_t kRecentMax = 64;

}  // namespace

Healer::Healer(Env& env, MemberSet& members, RangeLock& locks, HealthKeeper& health)
    : env_(env), members_(members), locks_(locks), health_(health), changed_(env) {}

void Healer::suspect(size_t member, uint64_t block) {
    if (stopping_) return;
    if (suspects_.size() >= kSuspectsMax && !suspects_.contains(block)) return;
    suspects_[block] |= 1u << member;
    changed_.notify_all();
}

void Healer::lose(uint64_t block) {
    if (health_.lost().contains(block)) return;
    health_.lost().add({block, 1});
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        health_.note(i, "event=unrecoverable block=" + std::to_string(block));
    }
}

void Healer::forget_lost(BlockRange range) {
    const uint64_t before = health_.lost().size();
    health_.lost().remove(range);
    if (health_.lost().size() != before) health_.touch();
}

void Healer::stop() {
    stopping_ = true;
    suspects_.clear();
    changed_.notify_all();
}

Task<bool> Healer::drain(uint64_t deadline_ns) {
    while (!idle() && !stopping_) {
        const bool notified = co_await changed_.wait_until(deadline_ns);
        if (!notified) co_return false;
    }
    co_return true;
}

Task<void> Healer::run() {
    Scope scope(env_);
    while (!stopping_) {
        if (suspects_.empty() || healing_ >= kConcurrency) {
            co_await changed_.wait();
            continue;
        }
        const auto [block, members] = *suspects_.begin();
        suspects_.erase(suspects_.begin());
        ++healing_;
        scope.start(heal_suspect(block, members));
    }
    co_await scope.join();
}

Task<void> Healer::heal_suspect(uint64_t block, uint32_t members) {
    for (size_t i = 0; i < members_.size(); ++i) {
        if ((members >> i & 1) != 0) co_await heal(i, block);
    }
    --healing_;
    changed_.notify_all();
}

Task<bool> Healer::repair_tables(uint64_t page) {
    bool whole = true;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        const std::vector<Member*> members = members_.readable_members(i);
        const uint64_t before = members_.member(i).counters().tables_repaired;
        const Status status = co_await repair_table(members, 0, page);
        if (!members_.readable(i)) continue;
        health_.note_table(i, page, status.ok(), before);
        if (status.ok()) continue;
        whole = false;
        env_.log(LogLevel::error, members_[i].path + ": the checksums of blocks " +
                                      std::to_string(page * kPageBlocks) + "+" +
                                      std::to_string(kPageBlocks) +
                                      " cannot be repaired: " + status.error().text());
    }
    co_return whole;
}

Task<void> Healer::heal(size_t member, uint64_t block) {
    // Before it waits: the other place of a write that went astray may be looked at meanwhile.
    recent_.push_back({member, block, nullptr});
    if (recent_.size() > kRecentMax) recent_.pop_front();
    RangeLock::Hold hold(locks_, block, block + 1, RangeLock::Mode::exclusive);
    co_await hold;
    if (stopping_ || !members_.readable(member)) co_return;
    Member& bad = members_.member(member);
    const std::vector<Member*> members = members_.readable_members(member);
    const uint64_t before = bad.counters().tables_repaired;
    const Status table = co_await repair_table(members, 0, block / kPageBlocks);
    if (!members_.readable(member)) co_return;
    health_.note_table(member, block / kPageBlocks, table.ok(), before);
    if (!table.ok()) {
        env_.log(LogLevel::error, bad.path() + ": the checksums around block " +
                                      std::to_string(block) +
                                      " cannot be repaired: " + table.error().text());
        co_return;
    }
    AlignedBytes good = allocate_aligned(kBlockSize);
    const Status again = co_await bad.read(block, 1, good.get());
    if (again.ok()) co_return;  // Overwritten meanwhile, or only its table was damaged.
    const Status fetched = co_await fetch(member, block, good.get());
    if (!members_.readable(member)) co_return;
    if (!fetched.ok()) {
        lose(block);
        co_return;
    }
    co_await explain_others_by(member, block);
    const DamageCause cause = co_await cause_of(member, block, good.get());
    if (!members_.readable(member)) co_return;
    health_.found(member, cause, block);
    const Status healed = co_await bad.rewrite(block, good.get());
    if (!members_.readable(member)) co_return;
    if (!healed.ok()) {
        env_.log(LogLevel::error, bad.path() + ": block " + std::to_string(block) +
                                      " cannot be healed: " + healed.error().text());
        co_return;
    }
    health_.count(member, cause);
    forget(block, 1);
    health_.note(member, "event=healed block=" + std::to_string(block) +
                             " cause=" + kDamageCauseNames[static_cast<size_t>(cause)]);
}

Task<Status> Healer::fetch(size_t except, uint64_t block, std::byte* out) {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (i == except || !members_.readable(i)) continue;
        const Status status = co_await members_.member(i).read(block, 1, out);
        if (status.ok()) co_return status;
    }
    co_return co_await fetch_from_outside(block, out);
}

// A member that is not in sync may be old as a whole, but a block that has the volume's current
// checksum is the volume's current block.
Task<Status> Healer::fetch_from_outside(uint64_t block, std::byte* out) {
    const Result<uint64_t> wanted = co_await current_checksum(block);
    if (!wanted.ok()) co_return wanted.error();
    for (size_t i = 0; i < members_.size(); ++i) {
        Member* member = members_[i].member;
        if (member == nullptr || members_.readable(i)) continue;
        const Status status = co_await member->read_raw(block, 1, out);
        if (!status.ok()) continue;
        if (members_.hasher().checksum(block, out) == wanted.value()) co_return status;
    }
    co_return Error{Errc::corrupt, 0, "no other member"};
}

Task<Result<uint64_t>> Healer::current_checksum(uint64_t block) {
    Result<uint64_t> checksum = Error{Errc::corrupt, 0, "no other member"};
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        if (const auto logged = members_.member(i).logged_checksum(block)) co_return *logged;
        checksum = co_await members_.member(i).home_checksum(block);
        if (checksum.ok()) break;
    }
    co_return checksum;
}

Task<DamageCause> Healer::cause_of(size_t member, uint64_t block, const std::byte* good) {
    AlignedBytes found = allocate_aligned(kBlockSize);
    const Status read = co_await members_.member(member).read_raw(block, 1, found.get());
    if (!read.ok()) co_return DamageCause::unreadable;
    const uint64_t checksum = members_.hasher().checksum(block, found.get());
    if (!members_.readable(member)) co_return DamageCause::unreadable;
    const Result<uint64_t> previous = co_await members_.member(member).previous_checksum(block);
    if (previous.ok() && previous.value() == checksum) co_return DamageCause::lost_write;
    const bool elsewhere = co_await belongs_elsewhere(member, block, found.get());
    if (elsewhere) co_return DamageCause::misdirected;
    const DamageCause cause = cause_of_difference(found.get(), good);
    if (cause == DamageCause::bit_rot) keep_unexplained(member, block, std::move(found));
    co_return cause;
}

void Healer::keep_unexplained(size_t member, uint64_t block, AlignedBytes content) {
    for (Recent& recent : recent_) {
        if (recent.member != member || recent.block != block) continue;
        recent.unexplained = std::move(content);
        return;
    }
}

// A write that went astray leaves two bad blocks, and the one that it hit may be found first: only
// the other one, where it is missing, tells where the content belongs.
Task<void> Healer::explain_others_by(size_t member, uint64_t block) {
    const Result<uint64_t> expected = co_await members_.member(member).home_checksum(block);
    if (!expected.ok() || !members_.readable(member)) co_return;
    for (Recent& recent : recent_) {
        if (recent.member != member || recent.unexplained == nullptr) continue;
        if (members_.hasher().checksum(block, recent.unexplained.get()) != expected.value())
            continue;
        recent.unexplained.reset();
        health_.recount(member, DamageCause::bit_rot, DamageCause::misdirected, recent.block);
    }
}

// Whether it is what another block should hold: one of those that were bad lately, since a write
// that went astray leaves two of them behind, or one whose number differs in one bit.
Task<bool> Healer::belongs_elsewhere(size_t member, uint64_t block, const std::byte* content) {
    std::vector<uint64_t> candidates;
    for (const Recent& recent : recent_) candidates.push_back(recent.block);
    for (const auto& [suspect, members] : suspects_) {
        if (candidates.size() >= 2 * kRecentMax) break;
        candidates.push_back(suspect);
    }
    const uint64_t blocks = members_.layout().volume_blocks();
    for (uint64_t bit = 1; bit < blocks; bit <<= 1) candidates.push_back(block ^ bit);
    for (const uint64_t other : candidates) {
        if (other == block || other >= blocks) continue;
        if (!members_.readable(member)) break;
        const Result<uint64_t> expected = co_await members_.member(member).home_checksum(other);
        if (expected.ok() && expected.value() == members_.hasher().checksum(other, content)) {
            co_return true;
        }
    }
    co_return false;
}

}  // namespace gemel::mirror
