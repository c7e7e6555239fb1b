// SPDX-License-Identifier: Apache-2.0
//
// From where a member is brought up to date: pure functions of what it says of itself and of the
// volume's history.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blockdev/disk_format.h"
#include "mirror/lineage.h"

namespace gemel::mirror {

// What the member has of the volume already. Default: nothing.
struct ResyncBase {
    Uuid epoch;             // The last write that is in common,
    uint64_t sequence = 0;  // for all pages from `cursor` on.
    uint64_t covered = 0;   // The same for the pages before: a resync came so far.
    uint64_t cursor = 0;
    uint64_t window_begin = 0;  // Pages whose blocks need not be what their checksums say.
    uint64_t window_end = 0;
};

// `log_end`: the last write of the member's own history, all of it home.
ResyncBase resync_base(const blockdev::Superblock& superblock, uint64_t log_end,
                       const History& volume);

// Whether the member holds writes that the volume has not, and that clients may have been told are
// safe: it went through epochs of its own, or none of `in_sync` counted where it was.
bool has_diverged(const blockdev::Superblock& superblock, uint64_t log_end, const History& volume,
                  std::span<const Uuid> in_sync);

// What a member's superblock says while pages before the cursor are `covered`.
blockdev::ResyncRecord resync_record(const ResyncBase& base);

// Pages that are brought up to date between two records, and what the second one says of them.
struct ResyncWindow {
    std::span<const uint64_t> pages;  // Never empty.
    uint64_t cursor = 0;
    uint64_t covered = 0;
};
// All of a walk, at most `pages_max` at a time: first the pages before the cursor, where a walk
// that was interrupted has been already; with the last of them all pages before the cursor are as
// new as `joined`, the last write before those that flow to the member. Then the others, each
// window moving the cursor behind it.
std::vector<ResyncWindow> resync_windows(const ResyncBase& base, std::span<const uint64_t> before,
                                         std::span<const uint64_t> after, uint64_t joined,
                                         size_t pages_max);
// `base` while `pages` are being copied. A window that was interrupted stays in it until all of it
// has been walked.
ResyncBase announced(const ResyncBase& base, std::span<const uint64_t> pages);
// `base` once all of `window` is done.
ResyncBase after_window(const ResyncBase& base, const ResyncWindow& window);

// The union of ascending lists.
std::vector<uint64_t> merge_pages(std::span<const uint64_t> first,
                                  std::span<const uint64_t> second);

}  // namespace gemel::mirror
