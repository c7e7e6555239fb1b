// SPDX-License-Identifier: Apache-2.0
#include "mirror/pace_controller.h"

#include <algorithm>
#include <array>

namespace gemel::mirror {

namespace {

constexpr std::array<PaceStep, PaceController::kSteps> kLadder = {{
    {16, 1, 31},
    {32, 1, 31},
    {32, 1, 15},
    {32, 1, 7},
    {32, 1, 3},
    {64, 1, 3},
    {64, 1, 1},
    {64, 1, 0},
    {128, 1, 0},
    {256, 1, 0},
    {256, 2, 0},
    {256, 4, 0},
    {256, 8, 0},
}};

// A window: enough requests to tell one in a hundred, or, where there are few, what came in a
// while.
constexpr uint64_t kWindowRequests = 200;
constexpr uint64_t kWindow_ns = 100 * kMillisecond;
constexpr uint64_t kSparseRequests = 20;
constexpr uint64_t kSparseWindow_ns = 2 * kSecond;
// Of a thousand requests so many over the limit are too many; so many, and there is room for more.
constexpr uint64_t kTooMany = 8;
constexpr uint64_t kFew = 4;
constexpr uint64_t kFarTooMany = 50;

}  // namespace

PaceStep PaceController::step_at(size_t number) { return kLadder[number]; }

void PaceController::restart(uint64_t now_ns) {
    step_ = 0;
    hold_ns_ = kHoldMin_ns;
    hold_until_ns_ = 0;
    too_fast_ = kSteps;
    begin_window(now_ns);
}

void PaceController::begin_window(uint64_t now_ns) {
    window_began_ns_ = now_ns;
    total_ = 0;
    over_ = 0;
    limit_ns_ = static_cast<uint64_t>(static_cast<double>(calm_.p99_ns()) * factor_);
}

void PaceController::note(uint64_t latency_ns, bool calm, bool running, uint64_t now_ns) {
    if (calm) calm_.record(latency_ns);
    if (!running) return;
    if (calm_.weight() < kCalmNeeded) return begin_window(now_ns);
    ++total_;
    if (latency_ns > limit_ns_) ++over_;
    if (has_enough(now_ns)) decide(now_ns);
}

bool PaceController::has_enough(uint64_t now_ns) const {
    const uint64_t open_ns = now_ns - window_began_ns_;
    if (total_ >= kWindowRequests) return open_ns >= kWindow_ns;
    return total_ >= kSparseRequests && open_ns >= kSparseWindow_ns;
}

void PaceController::decide(uint64_t now_ns) {
    const uint64_t over_per_mille = over_ * 1000 / total_;
    if (over_per_mille > kTooMany) {
        // The same step again, as soon as it was tried again: longer until the next time.
        hold_ns_ = step_ == too_fast_ ? std::min(2 * hold_ns_, kHoldMax_ns) : kHoldMin_ns;
        too_fast_ = step_;
        hold_until_ns_ = now_ns + hold_ns_;
        const size_t down = over_per_mille > kFarTooMany ? 2 : 1;
        step_ -= std::min(step_, down);
    } else if (over_per_mille <= kFew && now_ns >= hold_until_ns_ && step_ + 1 < kSteps) {
        ++step_;
    }
    begin_window(now_ns);
}

}  // namespace gemel::mirror
