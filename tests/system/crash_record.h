// SPDX-License-Identifier: Apache-2.0
//
// What a disk may hold: the crash test's own record of every write it sent, and of which were
// acknowledged. Space is tracked in grains: single bytes in a small zone at the start of the disk,
// so that writes of any offset and length can be judged, 512-byte sectors after it.
//
// A grain may hold a write unless another write of the same grain was acknowledged and had been
// sent only after the first one was acknowledged. What was never acknowledged may be there or not
// until a check after a kill has seen which; from then on that is fixed.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace gemel::crash {

// Writes are numbered from 1; what the disk held before the first one (zeroes) is 0.
using Version = uint32_t;

enum class Kind : uint8_t { write, zeroes, trim };

inline constexpr uint64_t kSector = 512;
inline constexpr uint64_t kBlock = 4096;
inline constexpr uint64_t kAtomicMax = 64 << 10;  // Larger writes count as single blocks.
inline constexpr uint64_t kNever = UINT64_MAX;

struct Operation {
    Kind kind = Kind::write;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t submitted = 0;  // On the record's own clock, which ticks with each event.
    uint64_t acknowledged = kNever;
};

// A grain that could hold several versions, and the ones whose content it has.
struct Observation {
    uint64_t offset = 0;
    std::vector<Version> candidates;
    std::vector<Version> matches;
};

// Content of `version` at [offset, offset + out.size()), any alignment. Each sector begins with its
// version and its number, so that misplaced data can be named.
void fill_pattern(uint64_t seed, Version version, uint64_t offset, std::span<uint8_t> out);

// Says what a sector that matches nothing expected holds.
std::string describe_content(uint64_t seed, uint64_t offset, std::span<const uint8_t> content);

class Record {
public:
    // All sizes are multiples of 4096; the disk is all zeroes.
    Record(uint64_t size, uint64_t byte_zone, uint64_t seed);

    // The operation is about to be sent; nothing of it may be known to the server before.
    Version submit(Kind kind, uint64_t offset, uint64_t length);
    void acknowledge(Version version);

    // The server is dead and its connections are drained: what is not acknowledged now never
    // will be, and may or may not be there.
    void crash();

    // Judges content read after crash(). Returns the first thing wrong, or an empty string.
    std::string check(uint64_t offset, std::span<const uint8_t> content);
    // All was checked: judges atomicity and order over the whole disk and takes what was seen as
    // the one truth from here on.
    std::string settle();

    // Judges a read beside writes: one is begun before the request is sent and finished with what
    // came back. Each 4 KiB block must be whole, from one moment between the two.
    struct Read {
        uint64_t offset = 0;
        uint64_t length = 0;
        uint64_t begun = 0;
        Version first_beside = 0;                      // The oldest write in flight at the start.
        std::vector<std::vector<Version>> candidates;  // One set for each grain.
    };
    Read begin_read(uint64_t offset, uint64_t length) const;
    std::string finish_read(const Read& read, std::span<const uint8_t> content) const;

    uint64_t size() const { return size_; }
    uint64_t byte_zone() const { return byte_zone_; }
    const Operation& operation(Version version) const;
    // Sent before the disk was last settled: surely over.
    bool is_old(Version version) const { return version < first_version_; }
    size_t unacknowledged() const { return in_flight_.size(); }

private:
    uint64_t grain_at(uint64_t offset) const;
    uint64_t offset_of(uint64_t grain) const;
    uint64_t end_of(uint64_t grain) const;
    std::span<const Version> candidates(uint64_t grain) const;
    void set_candidates(uint64_t grain, std::vector<Version> versions);
    bool is_zero(Version version) const;
    bool matches(Version version, uint64_t offset, std::span<const uint8_t> content) const;
    std::string mismatch(uint64_t grain, std::span<const Version> expected,
                         std::span<const uint8_t> content) const;
    std::string judge(const std::vector<Observation>& seen, bool whole_writes,
                      uint64_t as_of) const;

    uint64_t size_;
    uint64_t byte_zone_;
    uint64_t seed_;
    uint64_t clock_ = 2;         // 0 and 1 are the past, before the last settle().
    Version first_version_ = 1;  // Of operations_[0].
    std::vector<Operation> operations_;
    std::set<Version> in_flight_;
    std::vector<Version> latest_;  // For each grain, or a marked index into:
    std::vector<std::vector<Version>> several_;
    std::vector<uint32_t> free_;  // Unused places in several_.
    std::vector<Observation> observations_;
    uint64_t checked_ = 0;  // Bytes seen since crash().
};

}  // namespace gemel::crash
