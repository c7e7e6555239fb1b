// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fault_class.h"

#include "blockdev/loop.h"

namespace gemel::sim {

namespace {

constexpr std::array<const char*, kFaultClasses> kNames = {
    "bit-rot",     "zeroed",       "garbage",      "swapped",    "stale",
    "stale-chain", "torn",         "unreadable",   "read-error", "lost-write",
    "in-data",     "in-checksums", "in-index",     "in-log",     "in-superblock",
    "offline",     "online",       "no-copy-left", "hang",       "failing",
    "dead",        "slow",         "operators",    "crash",      "short-space"};

}  // namespace

const char* name(FaultClass fault) { return kNames[static_cast<size_t>(fault)]; }

std::optional<FaultClass> parse_fault_class(std::string_view text) {
    for (size_t i = 0; i < kFaultClasses; ++i) {
        if (text == kNames[i]) return static_cast<FaultClass>(i);
    }
    return std::nullopt;
}

std::string FaultSet::names() const {
    std::string text;
    for (size_t i = 0; i < kFaultClasses; ++i) {
        if (!bits_[i]) continue;
        if (!text.empty()) text += ',';
        text += kNames[i];
    }
    return text;
}

std::optional<FaultClass> FaultMix::draw(Random& random, FaultClass first, FaultClass last) const {
    uint64_t total = 0;
    const auto end = static_cast<size_t>(last) + 1;
    for (auto i = static_cast<size_t>(first); i < end; ++i) total += weights[i];
    if (total == 0) return std::nullopt;
    uint64_t drawn = random.below(total);
    auto chosen = static_cast<size_t>(first);
    while (drawn >= weights[chosen]) drawn -= weights[chosen++];
    const auto fault = static_cast<FaultClass>(chosen);
    if (!allowed.has(fault)) return std::nullopt;
    return fault;
}

bool FaultMix::any() const {
    const bool strikes = (offline_strikes_max != 0 && allowed.has(FaultClass::offline)) ||
                         (online_interval_ns_max != 0 && allowed.has(FaultClass::online));
    return strikes || request_rate != 0;
}

// A third of the seeds has no faults, so that whatever is reported there is a false alarm. The
// others have each class or not, so that some runs are full of one of them.
FaultMix draw_fault_mix(Random& random, FaultSet allowed) {
    FaultMix mix;
    mix.allowed = allowed;
    const bool faults = !random.chance(kCertain / 3);
    for (uint32_t& weight : mix.weights) {
        weight = random.coin() ? 0 : static_cast<uint32_t>(random.skewed(1, 20));
    }
    const uint64_t offline = random.skewed(1, 40);
    const uint64_t interval = random.skewed(100 * kMicrosecond, 2 * kSecond);
    const auto rate = static_cast<uint32_t>(random.skewed(1, 50'000));
    mix.blocks_per_strike_max = random.skewed(1, 64);
    // All but a quarter of the seeds.
    const uint64_t outages = random.skewed(10 * kMillisecond, 5 * kSecond);
    if (!random.chance(kCertain / 4)) mix.outage_interval_ns_max = outages;
    if (!faults) return mix;
    if (mix.weights[static_cast<size_t>(FaultClass::offline)] != 0) {
        mix.offline_strikes_max = offline;
    }
    if (mix.weights[static_cast<size_t>(FaultClass::online)] != 0) {
        mix.online_interval_ns_max = interval;
    }
    if (mix.has(FaultClass::read_error) || mix.has(FaultClass::lost_write)) {
        mix.request_rate = rate;
    }
    return mix;
}

}  // namespace gemel::sim
