// SPDX-License-Identifier: Apache-2.0
#include "mirror/space_guard.h"

#include <algorithm>

namespace gemel::mirror {

namespace {

constexpr uint64_t kRefreshBytes = 4ull << 20;
constexpr uint64_t kRefreshAge_ns = 100 * kMillisecond;
constexpr uint64_t kDrainPatience_ns = 10 * kSecond;

}  // namespace

SpaceGuard::SpaceGuard(Env& env, MemberSet& members, Sequencer& sequencer, Pacer& pacer)
    : env_(env), members_(members), sequencer_(sequencer), pacer_(pacer) {}

// A block on its way home takes its own 4 KiB and, at worst, 4 KiB of a checksum page of its own.
// The members may all lie on one file system.
uint64_t SpaceGuard::needed(uint64_t bytes) {
    const uint64_t on_the_way =
        pacer_.log_bytes_used() + sequencer_.queued_bytes() + promised() + bytes;
    return 2 * on_the_way * members_.size() + kReserveBytes;
}

// What was promised and is not home on every member yet, at most.
uint64_t SpaceGuard::promised() {
    if (promised_bytes_ == 0 || promises_open_ != 0) return promised_bytes_;
    for (size_t i = 0; i < members_.size(); ++i) {
        const bool waits =
            members_.flows(i) && members_.member(i).tail_sequence() <= promised_sequence_;
        if (waits) return promised_bytes_;
    }
    promised_bytes_ = 0;
    return 0;
}

SpaceGuard::Promise::Promise(SpaceGuard& guard, uint64_t bytes)
    : guard_(guard), counts_(bytes != 0) {
    guard_.promised_bytes_ += bytes;
    guard_.promises_open_ += counts_ ? 1 : 0;
}

SpaceGuard::Promise::~Promise() {
    if (!counts_) return;
    guard_.promised_sequence_ = guard_.sequencer_.numbered();
    --guard_.promises_open_;
}

void SpaceGuard::refresh() {
    free_bytes_ = UINT64_MAX;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;  // The others do not hold up a write.
        const Result<uint64_t> free = members_.member(i).free_bytes();
        free_bytes_ = std::min(free_bytes_, free.ok() ? free.value() : 0);
    }
    bytes_since_refresh_ = 0;
    refreshed_ns_ = env_.now_ns();
}

bool SpaceGuard::admits(uint64_t bytes) {
    // What others take between two looks is covered by looking more often when it gets tight.
    const bool due =
        bytes_since_refresh_ >= kRefreshBytes || env_.now_ns() - refreshed_ns_ >= kRefreshAge_ns;
    if (due) refresh();
    bytes_since_refresh_ += bytes;
    return free_bytes_ >= needed(bytes) && !pacer_.short_of_space();
}

Task<Result<bool>> SpaceGuard::allocated(uint64_t first_block, uint64_t block_count) {
    bool known = false;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        const Result<bool> has_space =
            co_await members_.member(i).is_allocated(first_block, block_count);
        // What one cannot tell, the others do: in sync, they hold the same.
        if (!has_space.ok()) continue;
        if (!has_space.value()) co_return false;
        known = true;
    }
    co_return known;
}

Task<Status> SpaceGuard::admit(uint64_t first_block, uint64_t block_count) {
    const uint64_t bytes = block_count * blockdev::kBlockSize;
    const Result<bool> has_space = co_await allocated(first_block, block_count);
    if (!has_space.ok()) co_return has_space.error();
    if (has_space.value()) co_return Status::success();
    const Status drained = co_await pacer_.drain(env_.now_ns() + kDrainPatience_ns);
    if (!drained.ok() && drained.error().code == Errc::closed) co_return drained;
    refresh();
    if (free_bytes_ >= needed(bytes) && !pacer_.short_of_space()) co_return Status::success();
    co_return Error{Errc::no_space, 0, "a member's file system is full"};
}

}  // namespace gemel::mirror
