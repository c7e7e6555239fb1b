// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/short_space.h"

#include "blockdev/loop.h"

namespace gemel::sim {

namespace {

constexpr uint64_t kPagesMax = (64ull << 20) / kPageSize;
constexpr uint64_t kIntervalMaxNs = 20 * kSecond;

}  // namespace

void ShortSpace::begin() {
    changing_ = true;
    if (scheduled_) return;
    scheduled_ = true;
    happen();
}

void ShortSpace::make_plenty() {
    changing_ = false;
    file_system_.capacity_pages = UINT64_MAX;
}

void ShortSpace::happen() {
    scheduled_ = changing_;
    if (!changing_) return;
    const uint64_t taken = file_system_.used_pages + file_system_.reserved_pages;
    const bool none = random_.chance(kCertain / 4);
    file_system_.capacity_pages = taken + (none ? 0 : random_.skewed(1, kPagesMax));
    world_.schedule_at(world_.now_ns() + random_.skewed(1, kIntervalMaxNs), *this);
}

}  // namespace gemel::sim
