// SPDX-License-Identifier: Apache-2.0
#include "mirror/latency.h"

#include <algorithm>
#include <bit>

namespace gemel::mirror {

namespace {

constexpr uint32_t kSettled = 64;  // Before so many every answer makes a new p99, then every
constexpr uint32_t kRenewal = 64;  // 64th.
constexpr int kRecentShare = 8;

}  // namespace

size_t Latency::bucket_of(uint64_t latency_ns) {
    constexpr uint64_t kLargest = (1ull << (kLargestBits + 1)) - 1;
    const uint64_t units = std::min(latency_ns >> kUnitBits, kLargest);
    if (units < 1u << kSubBits) return units;
    const unsigned exponent = static_cast<unsigned>(std::bit_width(units)) - 1;
    const uint64_t within = (units >> (exponent - kSubBits)) & ((1u << kSubBits) - 1);
    return ((exponent - kSubBits + 1) << kSubBits) + within;
}

uint64_t Latency::upper_bound(size_t bucket) {
    if (bucket < 1u << kSubBits) return (bucket + 1) << kUnitBits;
    const size_t octave = (bucket >> kSubBits) - 1;
    const uint64_t within = (1u << kSubBits) + (bucket & ((1u << kSubBits) - 1));
    return ((within + 1) << octave) << kUnitBits;
}

void Latency::record(uint64_t latency_ns) {
    const size_t bucket = bucket_of(latency_ns);
    ++counts_[bucket];
    const auto exact = static_cast<uint32_t>(bucket << kFraction);
    if (recent_ == kUnknown) {
        recent_ = exact;
    } else {
        const int difference = static_cast<int>(exact) - static_cast<int>(recent_);
        recent_ = static_cast<uint32_t>(static_cast<int>(recent_) + difference / kRecentShare);
    }
    if (++weight_ == kWeightMax) {
        weight_ = 0;
        for (uint16_t& count : counts_) {
            count /= 2;
            weight_ += count;
        }
    }
    if (++since_p99_ < kRenewal && weight_ > kSettled) return;
    since_p99_ = 0;
    p99_ns_ = quantile_ns(990);
}

// From the slow end: the answers above any high quantile are few.
uint64_t Latency::quantile_ns(uint32_t per_mille) const {
    if (weight_ == 0) return 0;
    const uint64_t above = static_cast<uint64_t>(weight_) * (1000 - per_mille) / 1000;
    uint64_t seen = 0;
    for (size_t bucket = kBuckets; bucket-- > 0;) {
        seen += counts_[bucket];
        if (seen > above) return upper_bound(bucket);
    }
    return 0;
}

}  // namespace gemel::mirror
