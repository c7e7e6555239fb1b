// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/oracle.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/bytes.h"

namespace gemel::sim {

namespace {

uint64_t word_of(uint64_t id, uint64_t index) {
    uint64_t z = id * 0x9e3779b97f4a7c15ull + index * 0xd1b54a32d192ed03ull;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
    return (z ^ (z >> 32)) | 0x0101010101010101ull;  // No byte is zero: zeros come from elsewhere.
}

std::string describe(const Oracle::Call& call) {
    std::string text = (call.zeroes ? "zeroing " : "write ") + std::to_string(call.id) + " of " +
                       std::to_string(call.end - call.begin) + " bytes at " +
                       std::to_string(call.begin);
    if (call.fua) text += " with FUA";
    text += call.answered == UINT64_MAX ? ", not answered" : ", answered";
    if (call.durable) text += " and flushed";
    return text;
}

}  // namespace

Oracle::Oracle(uint64_t size, uint64_t atomic_limit)
    : size_(size), atomic_limit_(atomic_limit), blocks_(divide_up(size, kBlock)) {}

void Oracle::fill(uint64_t id, uint64_t offset, std::span<std::byte> out) {
    size_t done = 0;
    while (done < out.size()) {
        const uint64_t at = offset + done;
        const uint64_t word = word_of(id, at / 8);
        const size_t skip = at % 8;
        const size_t count = std::min<size_t>(8 - skip, out.size() - done);
        std::memcpy(out.data() + done, reinterpret_cast<const std::byte*>(&word) + skip, count);
        done += count;
    }
}

Oracle::Call* Oracle::write(uint64_t offset, uint64_t length, bool fua) {
    return add(offset, offset + length, false, length, fua);
}

Oracle::Call* Oracle::zero(uint64_t offset, uint64_t length, bool fua) {
    return add(offset, offset + length, true, length, fua);
}

Oracle::Call* Oracle::trim(uint64_t offset, uint64_t length, bool fua) {
    const uint64_t begin = round_up(offset, kBlock);
    const uint64_t end = round_down(offset + length, kBlock);
    return add(begin, std::max(begin, end), true, length, fua);
}

Oracle::Call* Oracle::add(uint64_t begin, uint64_t end, bool zeroes, uint64_t length, bool fua) {
    auto owned = std::make_unique<Call>();
    Call* call = owned.get();
    call->id = next_id_++;
    call->begin = begin;
    call->end = end;
    call->zeroes = zeroes;
    call->atomic = length <= atomic_limit_;
    call->fua = fua;
    call->made = ++clock_;
    open_calls_.push_back(std::move(owned));
    for (uint64_t at = begin; at < end; at = round_down(at, kBlock) + kBlock) {
        add_candidate(at / kBlock, call);
    }
    return call;
}

void Oracle::add_candidate(uint64_t number, Call* call) {
    Block& block = blocks_[number];
    fold(number);
    const uint64_t start = number * kBlock;
    Candidate candidate;
    candidate.call = call;
    candidate.begin = static_cast<uint32_t>(std::max(call->begin, start) - start);
    candidate.end = static_cast<uint32_t>(std::min(call->end, start + kBlock) - start);
    if (block.candidates.empty() && block.latest != nullptr) {
        block.base = std::make_unique<Bytes>(*block.latest);
    }
    apply(block.latest, number, candidate);
    block.candidates.push_back(candidate);
}

void Oracle::apply(std::unique_ptr<Bytes>& bytes, uint64_t number, const Candidate& candidate) {
    const Call& call = *candidate.call;
    if (bytes == nullptr) {
        if (call.zeroes) return;
        bytes = std::make_unique<Bytes>();
    }
    const std::span<std::byte> range(bytes->data() + candidate.begin,
                                     candidate.end - candidate.begin);
    if (call.zeroes) {
        std::memset(range.data(), 0, range.size());
    } else {
        fill(call.id, number * kBlock + candidate.begin, range);
    }
}

// What no crash can undo any more, and nothing before it, is part of the base.
void Oracle::fold(uint64_t number) {
    Block& block = blocks_[number];
    size_t count = 0;
    while (count < block.candidates.size() && block.candidates[count].call->durable) {
        apply(block.base, number, block.candidates[count]);
        ++count;
    }
    const auto begin = block.candidates.begin();
    block.candidates.erase(begin, begin + static_cast<std::ptrdiff_t>(count));
    if (block.candidates.empty()) block.base.reset();
}

void Oracle::answered(Call* call) {
    call->answered = ++clock_;
    if (call->fua) {
        call->durable = true;
        flushed(call->made);
    }
}

void Oracle::flushed(uint64_t begun) {
    for (const auto& call : open_calls_) {
        if (call->answered < begun) call->durable = true;
    }
}

const std::byte* Oracle::latest(uint64_t number) const {
    static constexpr Bytes kZeros{};
    const auto& bytes = blocks_[number].latest;
    return bytes != nullptr ? bytes->data() : kZeros.data();
}

Oracle::Read Oracle::read(uint64_t offset, uint64_t length) {
    Read read{++clock_, offset, std::vector<std::byte>(length)};
    for (uint64_t done = 0; done < length;) {
        const uint64_t at = offset + done;
        const uint64_t count = std::min(length - done, kBlock - at % kBlock);
        std::memcpy(read.expected.data() + done, latest(at / kBlock) + at % kBlock, count);
        done += count;
    }
    return read;
}

std::optional<uint64_t> Oracle::fault_of(const Read& read, std::span<const std::byte> data) const {
    for (uint64_t done = 0; done < data.size();) {
        const uint64_t at = read.offset + done;
        const uint64_t count = std::min(data.size() - done, kBlock - at % kBlock);
        const auto inside = static_cast<uint32_t>(at % kBlock);
        const bool same = std::memcmp(read.expected.data() + done, data.data() + done, count) == 0;
        if (!same && !explains(at / kBlock, data.subspan(done, count), inside, read.made)) {
            return at;
        }
        done += count;
    }
    return std::nullopt;
}

bool Oracle::may_hold(uint64_t block, const std::byte* data) const {
    return std::memcmp(latest(block), data, kBlock) == 0 ||
           explains(block, {data, kBlock}, 0, UINT64_MAX);
}

// Where calls have failed: whether each byte of `data`, which lies at `begin` of the block, comes
// from the last call made before `made` that did not fail, or from a failed one after that.
bool Oracle::explains(uint64_t number, std::span<const std::byte> data, uint32_t begin,
                      uint64_t made) const {
    const Block& block = blocks_[number];
    const auto failed = [](const Candidate& candidate) { return candidate.call->failed; };
    if (std::none_of(block.candidates.begin(), block.candidates.end(), failed)) return false;
    for (uint32_t i = 0; i < data.size(); ++i) {
        const uint32_t at = begin + i;
        bool found = false;
        bool settled = false;
        for (auto it = block.candidates.rbegin(); it != block.candidates.rend() && !settled; ++it) {
            if (it->call->made > made || at < it->begin || at >= it->end) continue;
            std::byte value{0};
            if (!it->call->zeroes) fill(it->call->id, number * kBlock + at, {&value, 1});
            found = found || value == data[i];
            settled = !it->call->failed;
        }
        const std::byte before = block.base != nullptr ? (*block.base)[at] : std::byte{0};
        if (!found && (settled || before != data[i])) return false;
    }
    return true;
}

void Oracle::fault(std::string text) {
    if (fault_.empty()) fault_ = std::move(text);
}

void Oracle::found(uint64_t offset, std::span<const std::byte> data) {
    CHECK(offset % kBlock == 0 && data.size() % kBlock == 0);
    for (uint64_t done = 0; done < data.size(); done += kBlock) {
        resolve_block((offset + done) / kBlock, data.data() + done);
    }
}

void Oracle::resolve_block(uint64_t number, const std::byte* data) {
    Block& block = blocks_[number];
    if (block.candidates.empty()) {
        if (std::memcmp(latest(number), data, kBlock) == 0) return;
        fault("block " + std::to_string(number) + " changed although nothing wrote it");
        return;
    }
    std::vector<uint32_t> cuts{0, kBlock};
    for (const Candidate& candidate : block.candidates) {
        cuts.push_back(candidate.begin);
        cuts.push_back(candidate.end);
    }
    std::sort(cuts.begin(), cuts.end());
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        if (cuts[i] == cuts[i + 1] || match_interval(number, data, cuts[i], cuts[i + 1])) continue;
        fault("block " + std::to_string(number) + ", bytes " + std::to_string(cuts[i]) + " to " +
              std::to_string(cuts[i + 1]) + ": no write explains the content");
    }
    judge_block(number);
    if (block.latest == nullptr) block.latest = std::make_unique<Bytes>();
    std::memcpy(block.latest->data(), data, kBlock);
    block.candidates.clear();
    block.base.reset();
}

// Finds the candidates that could have written these bytes last. All after the newest of them are
// not there; if it is the only one, and the base does not fit either, it is there for certain.
bool Oracle::match_interval(uint64_t number, const std::byte* data, uint32_t begin, uint32_t end) {
    Block& block = blocks_[number];
    std::array<std::byte, kBlock> pattern;
    const auto matches = [&](const Call& call) {
        if (call.zeroes) return all_zero({data + begin, end - begin});
        fill(call.id, number * kBlock + begin, {pattern.data(), end - begin});
        return std::memcmp(pattern.data(), data + begin, end - begin) == 0;
    };
    Candidate* newest = nullptr;
    size_t count = 0;
    for (auto it = block.candidates.rbegin(); it != block.candidates.rend(); ++it) {
        if (it->begin > begin || it->end < end) continue;
        if (matches(*it->call)) {
            if (newest == nullptr) newest = &*it;
            ++count;
        } else if (newest == nullptr) {
            it->missed = true;
        }
    }
    const bool base_matches = block.base != nullptr ? std::memcmp(block.base->data() + begin,
                                                                  data + begin, end - begin) == 0
                                                    : all_zero({data + begin, end - begin});
    if (count == 1 && !base_matches) newest->seen = true;
    return newest != nullptr || base_matches;
}

// Within one block the order of the calls is that of the history.
void Oracle::judge_block(uint64_t number) {
    const Candidate* missing = nullptr;
    for (const Candidate& candidate : blocks_[number].candidates) {
        const std::string place = "block " + std::to_string(number) + ": ";
        if (candidate.seen && candidate.missed) {
            fault(place + "torn: " + describe(*candidate.call));
        }
        if (candidate.seen && missing != nullptr) {
            fault(place + "holds " + describe(*candidate.call) + " without the earlier " +
                  describe(*missing->call));
        }
        const bool refused = candidate.call->failed;
        if (candidate.missed && !refused && missing == nullptr) missing = &candidate;
        candidate.call->seen = candidate.call->seen || candidate.seen;
        candidate.call->missed = candidate.call->missed || candidate.missed;
    }
}

void Oracle::judge_calls(Loss loss) {
    // The newest call that is there, and the oldest one that is not: by the order of answers, which
    // is that of the history (but for FUA, answered later); and by real time.
    const Call* last_seen = nullptr;
    const Call* latest_made = nullptr;
    const Call* first_missed = nullptr;
    const Call* earliest_missed = nullptr;
    for (const auto& owned : open_calls_) {
        const Call& call = *owned;
        if (call.seen && call.missed && call.atomic) fault("torn: " + describe(call));
        const bool answered = call.answered != UINT64_MAX;
        const bool safe = call.durable || (answered && loss != Loss::unflushed);
        if (call.missed && safe) fault("lost: " + describe(call));
        if (call.missed) ++lost_calls_;
        const bool ranked = answered && !call.fua;
        if (call.seen && (latest_made == nullptr || call.made > latest_made->made)) {
            latest_made = &call;
        }
        if (call.missed && answered &&
            (earliest_missed == nullptr || call.answered < earliest_missed->answered)) {
            earliest_missed = &call;
        }
        if (call.seen && ranked && (last_seen == nullptr || call.answered > last_seen->answered)) {
            last_seen = &call;
        }
        if (call.missed && ranked &&
            (first_missed == nullptr || call.answered < first_missed->answered)) {
            first_missed = &call;
        }
    }
    const bool hole = last_seen != nullptr && first_missed != nullptr &&
                      last_seen->answered > first_missed->answered;
    const bool backwards = latest_made != nullptr && earliest_missed != nullptr &&
                           latest_made->made > earliest_missed->answered;
    if (hole)
        fault("not a prefix: " + describe(*last_seen) + " without " + describe(*first_missed));
    if (backwards) {
        fault("not a prefix: " + describe(*latest_made) + " without " + describe(*earliest_missed));
    }
}

std::string Oracle::finish_resolving(Loss loss) {
    judge_calls(loss);
    open_calls_.clear();
    return fault_;
}

}  // namespace gemel::sim
