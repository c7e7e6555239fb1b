// SPDX-License-Identifier: Apache-2.0
//
// The oracle: knows every content that a volume may legally hold.
//
// While nothing crashes there is exactly one: overlapping calls behave as if done in the order in
// which they were made. After a crash, calls not answered before it may have happened or not, and
// after a loss of power also those that no flush covered. What is found then must be explained by a
// prefix of the write history: resolve() checks that, and what was found is the one legal content
// from then on.
//
// Every write fills its range with bytes that name it and their place, so that what is read tells
// which write it came from, down to single bytes where ranges overlap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gemel::sim {

// What a crash may have undone.
enum class Loss : uint8_t {
    nothing,     // An orderly stop.
    unanswered,  // Processes died: calls that were not answered.
    unflushed,   // Power was lost on every member: also what no flush covered.
};

class Oracle {
public:
    struct Call {
        uint64_t id = 0;
        uint64_t begin = 0;  // The bytes it changes.
        uint64_t end = 0;
        bool zeroes = false;
        bool atomic = false;  // All or nothing; else each block on its own.
        bool fua = false;
        uint64_t made = 0;  // Moments on one counter of calls and answers.
        uint64_t answered = UINT64_MAX;
        bool durable = false;
        bool failed = false;  // Refused, and may have been done in part nevertheless.
        bool seen = false;    // Found in the content after a crash.
        bool missed = false;  // Found missing there, at least in part.
    };

    Oracle(uint64_t size, uint64_t atomic_limit);

    uint64_t size() const { return size_; }

    // Fills `out` with what the call `id` writes at `offset`.
    static void fill(uint64_t id, uint64_t offset, std::span<std::byte> out);

    // A changing call is about to be made. A trim leaves out partial blocks.
    Call* write(uint64_t offset, uint64_t length, bool fua);
    Call* zero(uint64_t offset, uint64_t length, bool fua);
    Call* trim(uint64_t offset, uint64_t length, bool fua);
    uint64_t next_id() const { return next_id_; }
    // It has succeeded.
    void answered(Call* call);
    // It was refused: it has happened wholly, partly or not.
    void failed(Call* call) { call->failed = true; }

    // Brackets a flush that succeeds: what was answered before begin_flush() is durable.
    uint64_t begin_flush() { return ++clock_; }
    void flushed(uint64_t begun);
    // An orderly stop: everything answered is durable.
    void stopped() { flushed(++clock_); }

    // A read made now, and whether it may return `data`: nothing if so, else where it is wrong.
    struct Read {
        uint64_t made = 0;
        uint64_t offset = 0;
        std::vector<std::byte> expected;
    };
    Read read(uint64_t offset, uint64_t length);
    std::optional<uint64_t> fault_of(const Read& read, std::span<const std::byte> data) const;

    // After a crash: takes what the whole volume holds, in pieces of whole blocks in order, then
    // judges it. The text names the first thing that cannot be explained; empty if all can.
    void begin_resolving() { fault_.clear(); }
    void found(uint64_t offset, std::span<const std::byte> data);
    std::string finish_resolving(Loss loss);

    // Whether the block may hold `data` (kBlock bytes) while nothing is in flight.
    bool may_hold(uint64_t block, const std::byte* data) const;

    uint64_t calls() const { return next_id_ - 1; }
    uint64_t unresolved() const { return open_calls_.size(); }
    uint64_t lost_calls() const { return lost_calls_; }  // Legally, by crashes.

    static constexpr uint64_t kBlock = 4096;

private:
    using Bytes = std::array<std::byte, kBlock>;
    struct Candidate {
        Call* call;
        uint32_t begin;  // Within the block.
        uint32_t end;
        bool seen = false;  // While resolving.
        bool missed = false;
    };
    struct Block {
        std::unique_ptr<Bytes> latest;  // Null: zeros.
        std::unique_ptr<Bytes> base;  // Before the candidates; only if there are any. Null: zeros.
        std::vector<Candidate> candidates;
    };

    Call* add(uint64_t begin, uint64_t end, bool zeroes, uint64_t length, bool fua);
    void add_candidate(uint64_t number, Call* call);
    static void apply(std::unique_ptr<Bytes>& bytes, uint64_t number, const Candidate& candidate);
    void fold(uint64_t number);
    void resolve_block(uint64_t number, const std::byte* data);
    const std::byte* latest(uint64_t number) const;
    bool explains(uint64_t number, std::span<const std::byte> data, uint32_t begin,
                  uint64_t made) const;
    bool match_interval(uint64_t number, const std::byte* data, uint32_t begin, uint32_t end);
    void judge_block(uint64_t number);
    void judge_calls(Loss loss);
    void fault(std::string text);

    uint64_t size_;
    uint64_t atomic_limit_;
    std::vector<Block> blocks_;
    std::deque<std::unique_ptr<Call>> open_calls_;  // Those that a crash could still undo.
    uint64_t next_id_ = 1;
    uint64_t clock_ = 0;
    uint64_t lost_calls_ = 0;
    std::string fault_;
};

}  // namespace gemel::sim
