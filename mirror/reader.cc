// SPDX-License-Identifier: Apache-2.0
#include "mirror/reader.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::kBlockSize;

namespace {

constexpr size_t kNobody = SIZE_MAX;

}  // namespace

// One piece of a read, in its reader's frame, while a member works on it; and whom else was asked.
class Reader::Piece {
public:
    Piece(Reader& reader, uint64_t first_block, uint64_t count)
        : changed(reader.env_), reader_(reader), first_block_(first_block), count_(count) {
        next_ = reader_.first_;
        if (next_ != nullptr) next_->previous_ = this;
        reader_.first_ = this;
    }
    ~Piece() {
        (previous_ != nullptr ? previous_->next_ : reader_.first_) = next_;
        if (next_ != nullptr) next_->previous_ = previous_;
        for (size_t i = 0; i < asked_; ++i) contenders_[i].read->listener = nullptr;
    }
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

    void ask(size_t member, uint64_t now_ns) {
        GuardedMember& guard = *reader_.members_[member].guard;
        contenders_[asked_] = {member, &guard, nullptr};
        contenders_[asked_].read =
            guard.begin_read(first_block_, count_, changed, now_ns, asked_ != 0);
        if (asked_++ != 0) return;
        late_ns_ =
            now_ns + late_after_ns(guard.reads().of(contenders_[0].read->small), reader_.limits_);
    }
    bool has_ended(size_t i) const {
        return contenders_[i].read->ended || contenders_[i].guard->given_up();
    }
    const std::byte* good(size_t i) const {
        const auto& result = contenders_[i].read->result;
        return result && result->ok() ? result->value().get() : nullptr;
    }
    // What was wrong with it, unless it was only given up.
    std::optional<Error> failure(size_t i) const {
        const auto& result = contenders_[i].read->result;
        if (!result || result->ok() || contenders_[i].guard->given_up()) return std::nullopt;
        return result->error();
    }
    size_t asked() const { return asked_; }
    size_t member(size_t i) const { return contenders_[i].member; }
    uint64_t late_ns() const { return late_ns_; }
    Piece* next() const { return next_; }
    void excuse(uint64_t by_ns) { late_ns_ += by_ns; }
    void note_late() {
        if (!has_ended(0)) contenders_[0].guard->note_late(*contenders_[0].read);
        late = true;
        if (asked_ == 1) changed.notify_all();
    }

    Event changed;  // An answer, or `late`.
    bool late = false;

private:
    struct Contender {
        size_t member = 0;
        GuardedMember* guard = nullptr;
        std::shared_ptr<GuardedMember::Read> read;
    };
    Reader& reader_;
    uint64_t first_block_;
    uint64_t count_;
    std::array<Contender, 2> contenders_;
    size_t asked_ = 0;
    uint64_t late_ns_ = 0;
    Piece* previous_ = nullptr;
    Piece* next_ = nullptr;
};

Reader::Reader(Env& env, MemberSet& members, Healer& healer, ReadLimits limits)
    : env_(env), members_(members), healer_(healer), limits_(limits), wake_(env) {}

Reader::~Reader() { CHECK(first_ == nullptr); }

void Reader::stop() {
    stopping_ = true;
    wake_.notify_all();
}

// --- Whom to ask

ReadCandidate Reader::candidate(size_t index) const {
    const MemberSet::Slot& slot = members_[index];
    if (!members_.readable(index) || slot.guard->given_up()) return {};
    const GuardedMember::ReadRecord& reads = slot.guard->reads();
    const uint64_t held_up = reads.late_in_flight != 0 ? limits_.late_ns_max : 0;
    return {true, slot.reads_in_flight + reads.in_flight,
            std::max(reads.small.recent_ns(), held_up)};
}

size_t Reader::choose(size_t except) {
    for (size_t i = 0; i < members_.size(); ++i) {
        candidates_[i] = i == except ? ReadCandidate{} : candidate(i);
    }
    return choose_reader({candidates_.data(), members_.size()}, next_reader_++);
}

// One that is passed over, has answered everything, and was not asked for a while.
size_t Reader::slow_member_to_probe(uint64_t now_ns) const {
    const uint64_t fastest = fastest_ns({candidates_.data(), members_.size()});
    for (size_t i = 0; i < members_.size(); ++i) {
        const ReadCandidate& candidate = candidates_[i];
        if (candidate.in_flight != 0 || !is_slow(candidate, fastest)) continue;
        const uint64_t last_ns = members_[i].guard->reads().last_began_ns;
        if (now_ns >= last_ns + limits_.probe_ns) return i;
    }
    return kNobody;
}

bool Reader::may_race() const {
    size_t seconds = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].guard) seconds += members_[i].guard->reads().seconds_in_flight;
    }
    return seconds < limits_.races_max;
}

// --- Reading

Task<Status> Reader::read(uint64_t first_block, uint64_t count, std::byte* out) {
    Status outcome;
    for (uint64_t done = 0; done < count; done += GuardedMember::kReadPieceBlocks) {
        const uint64_t part = std::min(count - done, GuardedMember::kReadPieceBlocks);
        const Status status =
            co_await read_piece(first_block + done, part, out + done * kBlockSize);
        if (!status.ok()) outcome = status;
    }
    co_return outcome;
}

// If a member fails, block by block: each is masked by another one, and where each has lost other
// ones, together they may still have all of them.
Task<Status> Reader::read_piece(uint64_t first_block, uint64_t count, std::byte* out) {
    size_t chosen = kNobody;
    while (true) {
        chosen = choose(kNobody);
        if (chosen == kNobody) co_return Error{Errc::io, 0, "no member in sync is left"};
        if (members_.member(chosen).try_read(first_block, count, out)) {
            co_return Status::success();
        }
        const Status whole = co_await read_from(chosen, first_block, count, out);
        if (whole.ok()) {
            healer_.forget(first_block, count);
            co_return whole;
        }
        // If it was given up under way the others have all of it.
        if (members_.readable(chosen) || stopping_) break;
    }
    Status outcome;
    for (uint64_t i = 0; i < count; ++i) {
        const Status status = co_await read_masked(chosen, first_block + i, out + i * kBlockSize);
        if (!status.ok()) outcome = status;
    }
    co_return outcome;
}

// Both have memory of their own: what the loser reads, whenever that is, goes nowhere.
Task<Status> Reader::read_from(size_t chosen, uint64_t first_block, uint64_t count,
                               std::byte* out) {
    const uint64_t now = env_.now_ns();
    Piece piece(*this, first_block, count);
    piece.ask(chosen, now);
    ++reads_begun_;
    if (piece.late_ns() < next_look_ns_) wake_.notify_all();
    const size_t slow = slow_member_to_probe(now);
    if (slow != kNobody && slow != chosen && may_race()) {
        piece.ask(slow, now);
        ++counters_.probes;
    }
    while (true) {
        size_t ended = 0;
        for (size_t i = 0; i < piece.asked(); ++i) {
            const std::byte* good = piece.good(i);
            if (good == nullptr) {
                ended += piece.has_ended(i) ? 1 : 0;
                continue;
            }
            std::memcpy(out, good, count * kBlockSize);
            if (piece.late && i == 1) ++counters_.races_won;
            const size_t other = 1 - i;
            if (other < piece.asked() && piece.failure(other)) {
                suspect(piece.member(other), first_block, count);
            }
            co_return Status::success();
        }
        if (ended == piece.asked()) break;
        if (piece.late && piece.asked() == 1 && may_race()) {
            const size_t second = choose(chosen);
            if (second != kNobody) {
                ++counters_.raced;
                piece.ask(second, env_.now_ns());
                continue;
            }
        }
        co_await piece.changed.wait();
    }
    co_return piece.failure(0).value_or(Error{Errc::closed, 0, "the member was given up"});
}

void Reader::suspect(size_t member, uint64_t first_block, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) healer_.suspect(member, first_block + i);
}

Task<Status> Reader::read_masked(size_t chosen, uint64_t block, std::byte* out) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        std::array<bool, blockdev::kMaximumMembers> failed{};
        for (size_t tried = 0; tried < members_.size(); ++tried) {
            const size_t index = (chosen + tried) % members_.size();
            if (!members_.readable(index)) continue;
            const Status status = co_await members_.member(index).read(block, 1, out);
            failed[index] = !status.ok();
            if (!status.ok()) continue;
            healer_.forget(block, 1);
            for (size_t i = 0; i < members_.size(); ++i) {
                if (failed[i]) healer_.suspect(i, block);
            }
            co_return status;
        }
        // Perhaps it is only the tables that are damaged everywhere. A repair that did not come to
        // its end may have been enough for this block.
        if (attempt == 0) {
            static_cast<void>(co_await healer_.repair_tables(block / blockdev::kPageBlocks));
        }
    }
    const Status outside = co_await healer_.fetch(SIZE_MAX, block, out);
    if (outside.ok()) co_return outside;
    if (!stopping_) healer_.lose(block);
    co_return Error{Errc::io, 0, "no member has a good copy"};
}

// --- Who is late

Task<void> Reader::run() {
    uint64_t seen = 0;
    while (!stopping_) {
        // Busy volumes are looked at from time to time, so that no read has to wake us.
        if (first_ == nullptr && reads_begun_ == seen) {
            next_look_ns_ = UINT64_MAX;
            co_await wake_.wait();
            if (stopping_) break;
        }
        seen = reads_begun_;
        next_look_ns_ = look(env_.now_ns());
        co_await wake_.wait_until(next_look_ns_);
        const uint64_t now = env_.now_ns();
        if (now <= next_look_ns_ + limits_.late_ns_min) continue;
        // We were not running ourselves: what was answered meanwhile has not been seen yet.
        const uint64_t slept = now - next_look_ns_;
        for (Piece* piece = first_; piece != nullptr; piece = piece->next()) piece->excuse(slept);
    }
}

// Wakes those that are late. Returns when to look again.
uint64_t Reader::look(uint64_t now_ns) {
    uint64_t next = now_ns + limits_.late_ns_max;
    if (first_ == nullptr) return now_ns + limits_.late_ns_min;
    for (Piece* piece = first_; piece != nullptr; piece = piece->next()) {
        if (piece->late_ns() > now_ns) {
            next = std::min(next, piece->late_ns());
            continue;
        }
        piece->note_late();
        next = std::min(next, now_ns + limits_.late_ns_min);
    }
    return next;
}

}  // namespace gemel::mirror
