// SPDX-License-Identifier: Apache-2.0
#include "mirror/resync_plan.h"

#include <algorithm>
#include <iterator>

#include "blockdev/superblock.h"
#include "mirror/configuration.h"

namespace gemel::mirror {

using blockdev::ResyncRecord;
using blockdev::ResyncState;
using blockdev::Superblock;

namespace {

// All that the member went through, whatever it is worth.
History whole_history(const Superblock& superblock, uint64_t log_end) {
    History history;
    history.epochs.assign(superblock.epochs, superblock.epochs + superblock.epoch_count);
    history.end = log_end;
    return history;
}

}  // namespace

// Numbers given in an epoch may be void today, and given again: so whatever was recorded is cut off
// where the two histories part.
ResyncBase resync_base(const Superblock& superblock, uint64_t log_end, const History& volume) {
    const Lineage vouched = compare_histories(history_of(superblock, log_end), volume);
    ResyncBase base;
    base.epoch = vouched.epoch;
    base.sequence = vouched.epoch.is_nil() ? 0 : vouched.sequence;
    const ResyncRecord& record = superblock.resync;
    if (!is_running(record)) return base;
    const Lineage common = compare_histories(whole_history(superblock, log_end), volume);
    if (!common.epoch.is_nil()) {
        base.cursor = record.cursor_page;
        base.covered = std::min<uint64_t>(record.covered_sequence, common.sequence);
    }
    base.window_begin = record.window_begin;
    base.window_end = record.window_end;
    return base;
}

bool has_diverged(const Superblock& superblock, uint64_t log_end, const History& volume,
                  std::span<const Uuid> in_sync) {
    const Lineage lineage = compare_histories(history_of(superblock, log_end), volume);
    if (!lineage.first_went_on) return false;
    if (lineage.first_has_own_epochs) return true;
    return std::none_of(in_sync.begin(), in_sync.end(), [&superblock](const Uuid& member) {
        return in_sync_in(superblock.configuration, member);
    });
}

ResyncRecord resync_record(const ResyncBase& base) {
    ResyncRecord record{};
    record.state = static_cast<uint32_t>(ResyncState::running);
    record.base_epoch = base.epoch;
    record.base_sequence = base.sequence;
    record.covered_sequence = base.covered;
    record.cursor_page = base.cursor;
    record.window_begin = base.window_begin;
    record.window_end = base.window_end;
    return record;
}

std::vector<ResyncWindow> resync_windows(const ResyncBase& base, std::span<const uint64_t> before,
                                         std::span<const uint64_t> after, uint64_t joined,
                                         size_t pages_max) {
    std::vector<ResyncWindow> windows;
    for (size_t done = 0; done < before.size(); done += pages_max) {
        const auto pages = before.subspan(done, std::min(pages_max, before.size() - done));
        windows.push_back({pages, base.cursor, base.covered});
    }
    if (!windows.empty()) windows.back().covered = joined;
    for (size_t done = 0; done < after.size(); done += pages_max) {
        const auto pages = after.subspan(done, std::min(pages_max, after.size() - done));
        windows.push_back({pages, pages.back() + 1, joined});
    }
    return windows;
}

ResyncBase announced(const ResyncBase& base, std::span<const uint64_t> pages) {
    const bool interrupted = base.window_begin < base.window_end;
    ResyncBase with = base;
    with.window_begin = interrupted ? std::min(base.window_begin, pages.front()) : pages.front();
    with.window_end = interrupted ? std::max(base.window_end, pages.back() + 1) : pages.back() + 1;
    return with;
}

// What is left of an interrupted window are the pages behind the last one that was walked.
ResyncBase after_window(const ResyncBase& base, const ResyncWindow& window) {
    ResyncBase after = base;
    after.cursor = window.cursor;
    after.covered = window.covered;
    after.window_begin = std::max(base.window_begin, window.pages.back() + 1);
    if (after.window_begin >= after.window_end) {
        after.window_begin = 0;
        after.window_end = 0;
    }
    return after;
}

std::vector<uint64_t> merge_pages(std::span<const uint64_t> first,
                                  std::span<const uint64_t> second) {
    std::vector<uint64_t> all;
    all.reserve(first.size() + second.size());
    std::set_union(first.begin(), first.end(), second.begin(), second.end(),
                   std::back_inserter(all));
    return all;
}

}  // namespace gemel::mirror
