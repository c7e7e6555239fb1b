// SPDX-License-Identifier: Apache-2.0
//
// Reader: the reads of clients, each from one member that has the blocks; from another one as well
// if the first is late, whoever is first with a good answer; and from all the others if it has no
// good copy.
//
// No read has a timer of its own: one task looks at those in flight when the oldest may be late.
#pragma once

#include <array>
#include <cstdint>

#include "blockdev/env.h"
#include "mirror/healer.h"
#include "mirror/member_set.h"
#include "mirror/read_policy.h"

namespace gemel::mirror {

class Reader {
public:
    struct Counters {
        uint64_t raced = 0;      // Reads that were late, and given to a second member.
        uint64_t races_won = 0;  // By the second one.
        uint64_t probes = 0;     // Given to two members at once, to know the slow one's latency.
    };
    Reader(Env& env, MemberSet& members, Healer& healer, ReadLimits limits);
    ~Reader();

    // Verified content. `out` is aligned for direct I/O; the caller keeps writes to the blocks
    // away. An error means that of at least one block there is no good copy; the others are there.
    Task<Status> read(uint64_t first_block, uint64_t count, std::byte* out);

    // The background work, until stop().
    Task<void> run();
    void stop();

    const Counters& counters() const { return counters_; }

private:
    class Piece;
    ReadCandidate candidate(size_t index) const;
    size_t choose(size_t except);
    size_t slow_member_to_probe(uint64_t now_ns) const;
    bool may_race() const;
    Task<Status> read_piece(uint64_t first_block, uint64_t count, std::byte* out);
    Task<Status> read_from(size_t chosen, uint64_t first_block, uint64_t count, std::byte* out);
    Task<Status> read_masked(size_t chosen, uint64_t block, std::byte* out);
    void suspect(size_t member, uint64_t first_block, uint64_t count);
    uint64_t look(uint64_t now_ns);

    Env& env_;
    MemberSet& members_;
    Healer& healer_;
    ReadLimits limits_;
    Piece* first_ = nullptr;                                           // Those in flight.
    std::array<ReadCandidate, blockdev::kMaximumMembers> candidates_;  // At the last choice.
    size_t next_reader_ = 0;
    uint64_t next_look_ns_ = UINT64_MAX;
    uint64_t reads_begun_ = 0;
    Event wake_;
    Counters counters_;
    bool stopping_ = false;
};

}  // namespace gemel::mirror
