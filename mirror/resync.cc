// SPDX-License-Identifier: Apache-2.0
#include "mirror/resync.h"

#include <algorithm>

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::LogTail;
using blockdev::Member;
using blockdev::PageValues;
using blockdev::PageVersion;

namespace {

const Error kStopped{Errc::closed, 0, "the resync was stopped"};
constexpr uint64_t kLookAgain_ns = kMillisecond;

// A table that cannot be read is as good as a damaged one: both can be made anew.
Error as_damage(Error error) {
    if (error.code == Errc::io) error.code = Errc::corrupt;
    return error;
}

bool is_listed(const std::vector<uint64_t>& pages, uint64_t page) {
    return std::binary_search(pages.begin(), pages.end(), page);
}

}  // namespace

Resync::Resync(Env& env, MemberSet& members, RangeLock& locks, Sequencer& sequencer,
               Configurator& configurator, Healer& healer, BackgroundPace& pace,
               std::vector<blockdev::EpochRecord> history)
    : env_(env),
      members_(members),
      locks_(locks),
      sequencer_(sequencer),
      configurator_(configurator),
      healer_(healer),
      pace_(pace),
      history_(std::move(history)),
      progress_(env) {}

void Resync::stop() {
    stopping_ = true;
    progress_.notify_all();
}

History Resync::history() const { return {history_, sequencer_.numbered()}; }

ResyncReport Resync::report() const {
    ResyncReport report = report_;
    if (report.running) report.elapsed_ns = env_.now_ns() - began_ns_;
    if (report.running && report.pages_done != 0) {
        const double each =
            static_cast<double>(report.elapsed_ns) / static_cast<double>(report.pages_done);
        const auto left = static_cast<double>(report.pages - report.pages_done);
        report.remaining_s = static_cast<uint64_t>(left * each / kSecond);
    }
    return report;
}

// Whatever happened to the member: somebody else has seen to it. It may have left for good at once,
// since no configuration has to change for that.
bool Resync::lost() const { return stopping_ || !members_.in_use(walk_.index); }

Task<Status> Resync::run(size_t index, ResyncBase base) {
    walk_ = Walk{};
    walk_.index = index;
    walk_.base = base;
    report_ = ResyncReport{};
    report_.running = true;
    began_ns_ = env_.now_ns();
    Status status = co_await find_own_pages();
    if (status.ok() && lost()) status = kStopped;
    if (status.ok()) {
        join();
        status = co_await record_beginning();
    }
    if (status.ok()) status = co_await find_pages_of_volume();
    if (status.ok()) status = co_await walk_pages();
    if (status.ok()) status = co_await admit();
    report_.elapsed_ns = env_.now_ns() - began_ns_;
    report_.running = false;
    co_return status;
}

// What it has and the volume may not: pages that are newer than the base, and those that were being
// changed when it stopped.
Task<Status> Resync::find_own_pages() {
    const ResyncBase& base = walk_.base;
    const uint64_t pages = members_.layout().volume_pages();
    Result<std::vector<uint64_t>> before =
        co_await member().newer_pages(base.covered, 0, base.cursor);
    if (!before.ok()) co_return as_damage(before.error());
    walk_.before_cursor = std::move(before).value();
    if (lost()) co_return kStopped;
    Result<std::vector<uint64_t>> after =
        co_await member().newer_pages(base.sequence, base.cursor, pages);
    if (!after.ok()) co_return as_damage(after.error());
    walk_.after_cursor = std::move(after).value();
    if (lost() || member().closed_cleanly()) co_return Status::success();
    const uint64_t since = base.cursor == 0 ? base.sequence : std::min(base.sequence, base.covered);
    Result<std::vector<uint64_t>> logged = co_await member().pages_in_log(since);
    if (!logged.ok()) co_return logged.error();
    walk_.forced = std::move(logged).value();
    co_return Status::success();
}

// Nothing suspends in here: the next batch that is numbered is the first one that the member gets.
// Its ring goes on where those of the others do, so that all rings are written alike.
void Resync::join() {
    MemberSet::Slot& slot = members_[walk_.index];
    LogTail at{};
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.readable(i)) at.ring_offset = members_.member(i).log_head();
    }
    at.sequence = sequencer_.next_sequence();
    at.previous_hash = sequencer_.chain_hash();
    member().join_log(at);
    if (slot.state == MemberState::behind) members_.move(walk_.index, MemberState::resyncing);
    slot.joined = true;
    members_.changed().notify_all();
}

Task<Status> Resync::record_beginning() {
    const Status status = co_await member().begin_resync(configurator_.in_force(), history_,
                                                         resync_record(walk_.base));
    if (status.ok() && !lost()) members_[walk_.index].checkpoints = true;
    co_return status;
}

Task<Status> Resync::newer_on_volume(uint64_t after, uint64_t first, uint64_t end,
                                     std::vector<uint64_t>& pages) {
    Status status = Error{Errc::io, 0, "no member in sync is left"};
    for (size_t i = 0; i < members_.size(); ++i) {
        for (int attempt = 0; attempt < 2 && members_.readable(i); ++attempt) {
            Member& source = members_.member(i);
            const Result<std::vector<uint64_t>> found =
                co_await source.newer_pages(after, first, end);
            if (found.ok()) {
                pages = merge_pages(pages, found.value());
                co_return Status::success();
            }
            status = found.error();
            if (!members_.readable(i)) break;
            const std::optional<uint64_t> damaged = source.take_suspect_page();
            if (!damaged) break;
            static_cast<void>(co_await healer_.repair_tables(*damaged));
        }
    }
    co_return Error{Errc::io, status.error().os_errno, "no index can be read"};
}

Task<Status> Resync::find_pages_of_volume() {
    const uint64_t pages = members_.layout().volume_pages();
    const ResyncBase& base = walk_.base;
    Status status = co_await newer_on_volume(base.covered, 0, base.cursor, walk_.before_cursor);
    if (!status.ok()) co_return status;
    status = co_await newer_on_volume(base.sequence, base.cursor, pages, walk_.after_cursor);
    if (!status.ok()) co_return status;
    for (const uint64_t page : walk_.forced) {
        if (page >= pages) continue;
        std::vector<uint64_t>& list = page < base.cursor ? walk_.before_cursor : walk_.after_cursor;
        const auto place = std::lower_bound(list.begin(), list.end(), page);
        if (place == list.end() || *place != page) list.insert(place, page);
    }
    report_.pages = walk_.before_cursor.size() + walk_.after_cursor.size();
    co_return status;
}

// The end of a window and the beginning of the next one are one record.
Task<Status> Resync::walk_pages() {
    if (lost()) co_return kStopped;
    const std::vector<uint64_t> before = std::move(walk_.before_cursor);
    const std::vector<uint64_t> after = std::move(walk_.after_cursor);
    const uint64_t joined = static_cast<uint64_t>(member().superblock().tail.sequence) - 1;
    const std::vector<ResyncWindow> windows =
        resync_windows(walk_.base, before, after, joined, kWindowPages);
    if (windows.empty()) co_return Status::success();
    Status status =
        co_await member().end_window(resync_record(announced(walk_.base, windows.front().pages)));
    for (size_t i = 0; i < windows.size() && status.ok(); ++i) {
        status = co_await walk_window(windows[i].pages);
        if (!status.ok()) break;
        walk_.base = after_window(walk_.base, windows[i]);
        const bool last = i + 1 == windows.size();
        const ResyncBase next = last ? walk_.base : announced(walk_.base, windows[i + 1].pages);
        status = co_await member().end_window(resync_record(next));
    }
    co_return status;
}

// The window is known to the member before any block in it is changed, until its copies are named.
Task<Status> Resync::walk_window(std::span<const uint64_t> pages) {
    if (lost()) co_return kStopped;
    outcome_ = Status::success();
    Scope scope(env_);
    for (const uint64_t page : pages) {
        while (pages_in_flight_ >= pace_.step().at_once) co_await progress_.wait();
        if (!outcome_.ok() || lost()) break;
        ++pages_in_flight_;
        scope.start(walk_page(page));
    }
    co_await scope.join();
    if (outcome_.ok() && lost()) outcome_ = kStopped;
    co_return outcome_;
}

Task<void> Resync::walk_page(uint64_t page) {
    const Status status = co_await bring_page(page);
    if (!status.ok() && outcome_.ok()) outcome_ = status;
    ++report_.pages_done;
    --pages_in_flight_;
    progress_.notify_all();
}

Task<void> Resync::rest(uint64_t work_ns) {
    const uint64_t until = env_.now_ns() + pace_.rest_ns(work_ns);
    while (!lost() && env_.now_ns() < until) co_await progress_.wait_until(until);
}

Task<Status> Resync::bring_page(uint64_t page) {
    const uint64_t first = page * kPageBlocks;
    const uint64_t count = std::min(kPageBlocks, members_.layout().volume_blocks() - first);
    std::optional<BackgroundPace::Piece> comparing;
    comparing.emplace(pace_);
    PageValues wanted;
    const Status known = co_await values_of_volume(page, wanted);
    if (!known.ok()) co_return known;
    if (lost()) co_return kStopped;
    PageValues own;
    const bool in_window = page >= walk_.base.window_begin && page < walk_.base.window_end;
    bool forced = in_window || is_listed(walk_.forced, page);
    Status owned = co_await member().page_values(page, PageVersion::current, own);
    if (!owned.ok()) {
        if (lost()) co_return kStopped;
        forced = true;
        const Status forgotten = co_await member().forget_page(page);
        if (!forgotten.ok()) co_return as_damage(forgotten.error());
        if (lost()) co_return kStopped;
        owned = co_await member().page_values(page, PageVersion::current, own);
        if (!owned.ok()) co_return as_damage(owned.error());
    }
    report_.blocks_compared += count;
    const uint64_t compared_ns = comparing->took_ns();
    comparing.reset();
    co_await rest(compared_ns);
    const bool equal = std::equal(std::begin(own.values.values), std::end(own.values.values),
                                  std::begin(wanted.values.values));
    for (uint64_t done = 0; (forced || !equal) && done < count;) {
        if (lost()) co_return kStopped;
        const uint64_t part = std::min(pace_.step().piece_blocks, count - done);
        const uint64_t began = env_.now_ns();
        const Status status = co_await bring_piece(first + done, part, forced);
        if (!status.ok()) co_return status;
        done += part;
        co_await rest(env_.now_ns() - began);
    }
    if (lost()) co_return kStopped;
    // Later writes raise it themselves.
    member().end_page(page, wanted.sequence);
    co_return Status::success();
}

// While the lock is held nobody writes to these blocks: what is compared, read and copied is one
// version, and a write that comes later finds the copy in its place.
Task<Status> Resync::bring_piece(uint64_t first_block, uint64_t count, bool forced) {
    RangeLock::Hold hold(locks_, first_block, first_block + count, RangeLock::Mode::shared);
    co_await hold;
    const BackgroundPace::Piece piece(pace_);
    const uint64_t page = first_block / kPageBlocks;
    PageValues wanted;
    const Status known = co_await values_of_volume(page, wanted);
    if (!known.ok()) co_return known;
    if (lost()) co_return kStopped;
    PageValues own;
    const Status owned = co_await member().page_values(page, PageVersion::current, own);
    if (!owned.ok()) co_return owned;
    if (lost()) co_return kStopped;
    const uint64_t within = first_block % kPageBlocks;
    std::vector<uint64_t> sums(count);
    for (uint64_t i = 0; i < count; ++i) sums[i] = wanted.values.values[within + i];
    const auto differs = [&](uint64_t i) {
        if (own.values.values[within + i] != sums[i]) return true;
        return forced && !member().logged_checksum(first_block + i);
    };
    for (uint64_t i = 0; i < count;) {
        if (lost()) co_return kStopped;
        if (!differs(i)) {
            ++i;
            continue;
        }
        // Zero, or not: each has its own way.
        uint64_t end = i + 1;
        while (end < count && differs(end) && (sums[end] == 0) == (sums[i] == 0)) ++end;
        const Status status = co_await copy_run(first_block + i, {sums.data() + i, end - i});
        if (!status.ok()) co_return status;
        i = end;
    }
    co_return Status::success();
}

Task<Status> Resync::copy_run(uint64_t first_block, std::span<const uint64_t> checksums) {
    if (checksums.front() == 0) {
        report_.blocks_zeroed += checksums.size();
        co_return co_await member().copy_in(first_block, checksums, nullptr);
    }
    AlignedBytes data = allocate_aligned(checksums.size() * kBlockSize);
    const Status read = co_await read_from_volume(first_block, checksums.size(), data.get());
    if (lost()) co_return kStopped;
    if (read.ok()) {
        report_.blocks_copied += checksums.size();
        co_return co_await member().copy_in(first_block, checksums, data.get());
    }
    for (size_t i = 0; i < checksums.size(); ++i) {
        const Status one = co_await copy_one(first_block + i, checksums[i]);
        if (!one.ok()) co_return one;
    }
    co_return Status::success();
}

// From whoever has it: the member itself, too. A block that nobody has travels as its checksum, so
// that nothing older passes for good.
Task<Status> Resync::copy_one(uint64_t block, uint64_t checksum) {
    AlignedBytes data = allocate_aligned(kBlockSize);
    const Status fetched = co_await healer_.fetch(SIZE_MAX, block, data.get());
    if (lost()) co_return kStopped;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_.readable(i)) healer_.suspect(i, block);
    }
    if (fetched.ok()) {
        ++report_.blocks_copied;
        co_return co_await member().copy_in(block, {&checksum, 1}, data.get());
    }
    ++report_.blocks_unrecoverable;
    healer_.lose(block);
    co_return co_await member().copy_in(block, {&checksum, 1}, nullptr);
}

Task<Status> Resync::values_of_volume(uint64_t page, PageValues& out) {
    for (int attempt = 0; attempt < 2; ++attempt) {
        for (size_t i = 0; i < members_.size(); ++i) {
            if (!members_.readable(i)) continue;
            const Status status =
                co_await members_.member(i).page_values(page, PageVersion::current, out);
            if (status.ok()) co_return status;
        }
        if (attempt == 0) static_cast<void>(co_await healer_.repair_tables(page));
    }
    co_return Error{Errc::io, 0, "the volume's checksums cannot be read"};
}

// Each member in turn is asked first.
Task<Status> Resync::read_from_volume(uint64_t first_block, uint64_t count, std::byte* out) {
    const size_t start = next_source_++;
    Status status = Error{Errc::io, 0, "no member in sync is left"};
    for (size_t tried = 0; tried < members_.size(); ++tried) {
        const size_t i = (start + tried) % members_.size();
        if (!members_.readable(i)) continue;
        ++members_[i].reads_in_flight;
        status = co_await members_.member(i).read(first_block, count, out);
        --members_[i].reads_in_flight;
        if (status.ok()) break;
    }
    co_return status;
}

// From `admitting` on nothing is acknowledged without the member, so after the flush it holds all
// that ever was.
Task<Status> Resync::admit() {
    MemberSet::Slot& slot = members_[walk_.index];
    if (lost()) co_return kStopped;
    slot.admitting = true;
    const uint64_t acknowledged = sequencer_.commit_point();
    while (!lost() && member().logged_sequence() < acknowledged) {
        co_await sleep_for(env_, kLookAgain_ns);
    }
    if (lost()) co_return kStopped;
    const Status flushed = co_await member().flush();
    if (!flushed.ok()) co_return flushed;
    const Status applied = co_await configurator_.apply();
    if (!applied.ok()) co_return applied;
    if (slot.state != MemberState::in_sync) co_return kStopped;
    sequencer_.members_changed();
    co_return Status::success();
}

}  // namespace gemel::mirror
