// SPDX-License-Identifier: Apache-2.0
//
// Latency: how long one kind of request takes these days. A histogram in which old answers fade,
// and an estimate of the last few ones. Pure; recording neither allocates nor loops, but for every
// 1024th time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace gemel::mirror {

class Latency {
public:
    void record(uint64_t latency_ns);
    void clear() { *this = Latency{}; }

    // So many parts of a thousand took no longer; rounded up, by an eighth at most. 0: nothing is
    // known.
    uint64_t quantile_ns(uint32_t per_mille) const;
    // quantile_ns(990), as it was a few answers ago.
    uint64_t p99_ns() const { return p99_ns_; }
    // The geometric mean of about the last eight: one answer that was late does not move it much,
    // several in a row do. 0: nothing is known.
    uint64_t recent_ns() const {
        return recent_ == kUnknown ? 0 : upper_bound(recent_ >> kFraction);
    }
    // How many answers the quantiles rest on; the older half counts half.
    uint32_t weight() const { return weight_; }

private:
    // Eight buckets for each doubling, from a microsecond to a minute.
    static constexpr unsigned kSubBits = 3;
    static constexpr unsigned kUnitBits = 10;
    static constexpr unsigned kLargestBits = 26;  // Of a latency in units of about a microsecond.
    static constexpr size_t kBuckets = (kLargestBits - kSubBits + 2) << kSubBits;
    static constexpr uint32_t kWeightMax = 2048;
    static constexpr unsigned kFraction = 8;
    static constexpr uint32_t kUnknown = UINT32_MAX;
    static_assert(kWeightMax <= UINT16_MAX);

    static size_t bucket_of(uint64_t latency_ns);
    static uint64_t upper_bound(size_t bucket);

    std::array<uint16_t, kBuckets> counts_{};
    uint32_t weight_ = 0;
    uint32_t since_p99_ = 0;
    uint64_t p99_ns_ = 0;
    uint32_t recent_ = kUnknown;  // A bucket, with kFraction bits more: buckets are a logarithm.
};

}  // namespace gemel::mirror
