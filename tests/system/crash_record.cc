// SPDX-License-Identifier: Apache-2.0
#include "tests/system/crash_record.h"

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <stdexcept>

#include "tests/system/crash_order.h"

namespace gemel::crash {
namespace {

constexpr Version kMark = 1u << 31;      // latest_ holds an index into several_.
constexpr uint64_t kWhole = UINT64_MAX;  // The node of a write that is done as a whole.
constexpr Operation kPast{Kind::write, 0, 0, 0, 1};

std::string name(Version version) {
    return version == 0 ? "zeroes" : "write " + std::to_string(version);
}

}  // namespace

Record::Record(uint64_t size, uint64_t byte_zone, uint64_t seed)
    : size_(size),
      byte_zone_(byte_zone),
      seed_(seed),
      latest_(byte_zone + (size - byte_zone) / kSector, 0) {}

uint64_t Record::grain_at(uint64_t offset) const {
    return offset < byte_zone_ ? offset : byte_zone_ + (offset - byte_zone_) / kSector;
}

uint64_t Record::offset_of(uint64_t grain) const {
    return grain < byte_zone_ ? grain : byte_zone_ + (grain - byte_zone_) * kSector;
}

uint64_t Record::end_of(uint64_t grain) const {
    return offset_of(grain) + (grain < byte_zone_ ? 1 : kSector);
}

std::span<const Version> Record::candidates(uint64_t grain) const {
    const Version& entry = latest_[grain];
    if ((entry & kMark) == 0) return {&entry, 1};
    return several_[entry & ~kMark];
}

void Record::set_candidates(uint64_t grain, std::vector<Version> versions) {
    Version& entry = latest_[grain];
    if (versions.size() == 1) {
        if ((entry & kMark) != 0) free_.push_back(entry & ~kMark);
        entry = versions.front();
        return;
    }
    if ((entry & kMark) == 0) {
        if (free_.empty()) {
            free_.push_back(static_cast<uint32_t>(several_.size()));
            several_.emplace_back();
        }
        entry = kMark | free_.back();
        free_.pop_back();
    }
    several_[entry & ~kMark] = std::move(versions);
}

const Operation& Record::operation(Version version) const {
    return is_old(version) ? kPast : operations_[version - first_version_];
}

bool Record::is_zero(Version version) const {
    return version == 0 || operation(version).kind != Kind::write;
}

Version Record::submit(Kind kind, uint64_t offset, uint64_t length) {
    if (kind == Kind::trim) {  // A trim leaves blocks that it covers only in part alone.
        const uint64_t end = (offset + length) / kBlock * kBlock;
        offset = (offset + kBlock - 1) / kBlock * kBlock;
        length = end > offset ? end - offset : 0;
    }
    const Version version = first_version_ + static_cast<Version>(operations_.size());
    if (version >= kMark) throw std::runtime_error("too many writes for one run");
    operations_.push_back({kind, offset, length, clock_++, kNever});
    in_flight_.insert(version);
    return version;
}

void Record::acknowledge(Version version) {
    Operation& done = operations_[version - first_version_];
    done.acknowledged = clock_++;
    in_flight_.erase(version);
    const uint64_t end = done.offset + done.length;
    for (uint64_t grain = grain_at(done.offset); offset_of(grain) < end; ++grain) {
        const std::span<const Version> before = candidates(grain);
        if (before.size() == 1 && operation(before[0]).acknowledged < done.submitted) {
            latest_[grain] = version;  // By far the most frequent case.
            continue;
        }
        std::vector<Version> left;
        for (const Version other : before) {
            if (operation(other).acknowledged > done.submitted) left.push_back(other);
        }
        left.push_back(version);
        set_candidates(grain, std::move(left));
    }
}

void Record::crash() {
    observations_.clear();
    checked_ = 0;
    for (const Version version : in_flight_) {
        const Operation& lost = operation(version);
        const uint64_t end = lost.offset + lost.length;
        for (uint64_t grain = grain_at(lost.offset); offset_of(grain) < end; ++grain) {
            const std::span<const Version> before = candidates(grain);
            std::vector<Version> now(before.begin(), before.end());
            now.push_back(version);
            set_candidates(grain, std::move(now));
        }
    }
}

bool Record::matches(Version version, uint64_t offset, std::span<const uint8_t> content) const {
    std::array<uint8_t, kBlock> expected{};
    const bool zero = is_zero(version);
    while (!content.empty()) {
        const std::span<uint8_t> part(expected.data(), std::min(content.size(), expected.size()));
        if (!zero) fill_pattern(seed_, version, offset, part);
        if (std::memcmp(part.data(), content.data(), part.size()) != 0) return false;
        offset += part.size();
        content = content.subspan(part.size());
    }
    return true;
}

std::string Record::mismatch(uint64_t grain, std::span<const Version> expected,
                             std::span<const uint8_t> content) const {
    const uint64_t offset = offset_of(grain);
    std::string text = "offset " + std::to_string(offset) + " holds " +
                       describe_content(seed_, offset, content) + ", expected ";
    for (size_t i = 0; i < expected.size(); ++i) {
        if (i != 0) text += " or ";
        text += name(expected[i]);
        if (is_old(expected[i])) continue;
        const Operation& from = operation(expected[i]);
        char detail[160];
        std::snprintf(detail, sizeof detail, " (%s, offset %" PRIu64 ", length %" PRIu64 ", %s)",
                      from.kind == Kind::write ? "data" : "zero", from.offset, from.length,
                      from.acknowledged == kNever ? "in flight" : "acknowledged");
        text += detail;
    }
    return text;
}

std::string Record::check(uint64_t offset, std::span<const uint8_t> content) {
    const uint64_t last = grain_at(offset + content.size() - 1);
    checked_ += content.size();
    for (uint64_t grain = grain_at(offset); grain <= last;) {
        const uint64_t start = offset_of(grain);
        uint64_t next = grain + 1;  // A run of grains with the same single candidate.
        if ((latest_[grain] & kMark) == 0) {
            while (next <= last && latest_[next] == latest_[grain]) ++next;
        }
        const auto run = content.subspan(start - offset, end_of(next - 1) - start);
        const std::span<const Version> possible = candidates(grain);
        Observation seen{start, {possible.begin(), possible.end()}, {}};
        for (const Version version : possible) {
            if (matches(version, start, run)) seen.matches.push_back(version);
        }
        if (seen.matches.empty()) {
            for (; grain + 1 < next; ++grain) {  // Name the first bad one of the run.
                const auto one =
                    content.subspan(offset_of(grain) - offset, end_of(grain) - offset_of(grain));
                if (!matches(possible[0], offset_of(grain), one)) break;
            }
            return mismatch(
                grain, possible,
                content.subspan(offset_of(grain) - offset, end_of(grain) - offset_of(grain)));
        }
        if (possible.size() > 1) observations_.push_back(std::move(seen));
        grain = next;
    }
    return {};
}

std::string Record::settle() {
    if (checked_ != size_) return "only " + std::to_string(checked_) + " bytes were checked";
    const std::string wrong = judge(observations_, true, kNever);
    if (!wrong.empty()) return wrong;
    for (const Observation& seen : observations_) {
        set_candidates(grain_at(seen.offset), {seen.matches.front()});
    }
    for (Version& version : latest_) {
        if (is_zero(version)) version = 0;
    }
    several_.clear();
    free_.clear();
    observations_.clear();
    first_version_ += static_cast<Version>(operations_.size());
    operations_.clear();
    in_flight_.clear();
    return {};
}

// For each grain whose content is that of exactly one candidate, all others that were surely done
// (acknowledged, or seen elsewhere) were done before it.
std::string Record::judge(const std::vector<Observation>& seen, bool whole_writes,
                          uint64_t as_of) const {
    using Key = std::pair<Version, uint64_t>;  // The version, and its block where blocks count.
    const auto key_of = [&](Version version, uint64_t offset) {
        const Operation& from = operation(version);
        const bool whole = whole_writes && from.length <= kAtomicMax && from.kind != Kind::trim;
        return Key{version, whole ? kWhole : offset / kBlock};
    };
    std::map<Key, size_t> nodes;
    std::vector<Event> events;
    std::vector<Version> versions;
    std::set<Key> visible;
    for (const Observation& grain : seen) {
        for (const Version version : grain.candidates) {
            const Key key = key_of(version, grain.offset);
            if (!nodes.emplace(key, events.size()).second) continue;
            events.push_back({operation(version).submitted, operation(version).acknowledged});
            versions.push_back(version);
        }
        if (grain.matches.size() == 1) visible.insert(key_of(grain.matches[0], grain.offset));
    }
    std::set<std::pair<size_t, size_t>> known;
    std::vector<Precedence> order;
    for (const Observation& grain : seen) {
        if (grain.matches.size() != 1) continue;
        const size_t later = nodes[key_of(grain.matches[0], grain.offset)];
        for (const Version other : grain.candidates) {
            const Key key = key_of(other, grain.offset);
            const bool done = operation(other).acknowledged < as_of || visible.contains(key);
            if (other == grain.matches[0] || !done) continue;
            if (!known.emplace(nodes[key], later).second) continue;
            order.push_back({nodes[key], later, grain.offset});
        }
    }
    std::string text;
    for (const Precedence& step : find_contradiction(events, order)) {
        text += text.empty() ? "no order of whole writes explains the content: " : "; ";
        text += "offset " + std::to_string(step.offset) + " holds " + name(versions[step.later]) +
                " instead of " + name(versions[step.earlier]);
    }
    return text;
}

Record::Read Record::begin_read(uint64_t offset, uint64_t length) const {
    const Version next = first_version_ + static_cast<Version>(operations_.size());
    Read read{offset, length, clock_, in_flight_.empty() ? next : *in_flight_.begin(), {}};
    for (uint64_t grain = grain_at(offset); offset_of(grain) < offset + length; ++grain) {
        const std::span<const Version> now = candidates(grain);
        read.candidates.emplace_back(now.begin(), now.end());
    }
    return read;
}

std::string Record::finish_read(const Read& read, std::span<const uint8_t> content) const {
    const Version end = first_version_ + static_cast<Version>(operations_.size());
    std::vector<Observation> block;  // What was seen of one block.
    const uint64_t first = grain_at(read.offset);
    for (size_t i = 0; i < read.candidates.size(); ++i) {
        const uint64_t offset = offset_of(first + i);
        const auto part = content.subspan(offset - read.offset, end_of(first + i) - offset);
        Observation seen{offset, read.candidates[i], {}};
        for (Version version = read.first_beside; version < end; ++version) {
            const Operation& beside = operation(version);
            const bool covers = beside.offset <= offset && offset < beside.offset + beside.length;
            if (covers && beside.acknowledged >= read.begun) seen.candidates.push_back(version);
        }
        for (const Version version : seen.candidates) {
            if (matches(version, offset, part)) seen.matches.push_back(version);
        }
        if (seen.matches.empty()) return "a read: " + mismatch(first + i, seen.candidates, part);
        if (!block.empty() && block.front().offset / kBlock != offset / kBlock) {
            const std::string torn = judge(block, false, read.begun);
            if (!torn.empty()) return "a read beside writes: " + torn;
            block.clear();
        }
        block.push_back(std::move(seen));
    }
    const std::string torn = judge(block, false, read.begun);
    return torn.empty() ? torn : "a read beside writes: " + torn;
}

}  // namespace gemel::crash
