// SPDX-License-Identifier: Apache-2.0
#include "blockdev/checkpoint.h"

#include <algorithm>
#include <array>

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

// In address order blocks come from all over the log's memory: hashing one would wait for memory
// most of its time, unless the next one is on its way meanwhile.
void prefetch(const std::byte* block) {
    constexpr size_t kCacheLine = 64;
    for (size_t at = 0; at < kBlockSize; at += kCacheLine) __builtin_prefetch(block + at);
}

}  // namespace

// Adjacent blocks, written together from wherever they lie in memory.
struct Checkpoint::HomeWrite {
    Checkpoint* owner = nullptr;
    std::array<IoSegment, kMaximumSegments> segments;
    IoRequest request;
};

Checkpoint::Checkpoint(Env& env, Disk& disk, const Layout& layout, ChecksumTable& table,
                       const ecc::BlockHasher& hasher, const Overlay& slice, size_t window)
    : env_(env),
      disk_(disk),
      layout_(layout),
      table_(table),
      hasher_(hasher),
      slice_(slice),
      window_(window),
      progress_(env) {}

Task<Status> Checkpoint::run() {
    blocks_ = slice_.sorted_blocks();
    const Status cleared = co_await clear_home();
    if (!cleared.ok()) co_return cleared;
    const Status written = co_await write_home();
    if (!written.ok()) co_return written;
    const Status home_stable = co_await disk_.sync();
    if (!home_stable.ok()) co_return home_stable;
    const Status pages = co_await write_pages();
    if (!pages.ok()) co_return pages;
    const Status index = co_await table_.write_index();
    if (!index.ok()) co_return index;
    co_return co_await disk_.sync();
}

// Whole ranges, also where blocks were written again later: those follow in write_home().
Task<Status> Checkpoint::clear_home() {
    for (const ZeroRange& range : slice_.zero_ranges()) {
        const uint64_t offset = layout_.home(range.first_block);
        const uint64_t length = (range.end_block - range.first_block) * kBlockSize;
        Status status;
        if (range.keep_allocated) {
            status = co_await disk_.zero(offset, length);
        } else {
            status = co_await disk_.punch(offset, length);
        }
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

Task<Status> Checkpoint::write_home() {
    std::vector<HomeWrite> writes(std::min(window_, blocks_.size()));
    idle_writes_.clear();
    for (HomeWrite& write : writes) {
        write.owner = this;
        idle_writes_.push_back(&write);
    }
    outcome_ = Status::success();
    for (size_t next = 0; next < blocks_.size() && outcome_.ok();) {
        // Half the window at a time: requests submitted together cost one notice to the device.
        if (idle_writes_.empty()) {
            while (in_flight_ > writes.size() / 2) co_await progress_.wait();
            continue;
        }
        HomeWrite& write = *idle_writes_.back();
        if (!fill(write, next)) {
            outcome_ = Error{Errc::corrupt, 0, "the log's payload changed in memory"};
            break;
        }
        idle_writes_.pop_back();
        ++in_flight_;
        disk_.submit(write.request);
    }
    while (in_flight_ != 0) co_await progress_.wait();
    co_return outcome_;
}

// Gathers adjacent blocks from blocks_[next] on, verifying each as it leaves the log.
bool Checkpoint::fill(HomeWrite& write, size_t& next) {
    const uint64_t first = blocks_[next].number;
    uint32_t segments = 0;
    uint64_t length = 0;
    while (next < blocks_.size() && blocks_[next].number == first + length / kBlockSize &&
           length < kMaximumWrite) {
        const Overlay::Block& block = blocks_[next];
        auto* data = const_cast<std::byte*>(block.version.data);
        const bool adjoins =
            segments > 0 &&
            write.segments[segments - 1].data + write.segments[segments - 1].length == data;
        if (!adjoins && segments == kMaximumSegments) break;
        if (next + 1 < blocks_.size()) prefetch(blocks_[next + 1].version.data);
        if (hasher_.checksum(block.number, data) != block.version.checksum) return false;
        if (adjoins) {
            write.segments[segments - 1].length += kBlockSize;
        } else {
            write.segments[segments++] = {data, kBlockSize};
        }
        length += kBlockSize;
        ++next;
    }
    write.request = IoRequest{};
    write.request.kind = IoKind::write;
    write.request.offset = layout_.home(first);
    write.request.length = length;
    write.request.segments = write.segments.data();
    write.request.segment_count = segments;
    write.request.done.context = &write;
    write.request.done.run = [](void* context) {
        auto& done = *static_cast<HomeWrite*>(context);
        done.owner->finished(done);
    };
    return true;
}

void Checkpoint::finished(HomeWrite& write) {
    if (!write.request.status.ok() && outcome_.ok()) outcome_ = write.request.status;
    --in_flight_;
    idle_writes_.push_back(&write);
    progress_.notify_all();
}

Task<Status> Checkpoint::write_pages() {
    outcome_ = Status::success();
    Scope scope(env_);
    for (const PageWork& work : plan_pages()) {
        while (scope.running() >= window_) co_await progress_.wait();
        if (!outcome_.ok()) break;
        scope.start(write_page(work));
    }
    co_await scope.join();
    co_return outcome_;
}

// Every page with a changed block, in order.
std::vector<Checkpoint::PageWork> Checkpoint::plan_pages() const {
    std::vector<PageWork> plan;
    for (size_t i = 0; i < blocks_.size(); ++i) {
        const uint64_t page = blocks_[i].number / kPageBlocks;
        if (plan.empty() || plan.back().page != page) plan.push_back({page, i, 0});
        ++plan.back().count;
    }
    const size_t with_blocks = plan.size();
    for (const ZeroRange& range : slice_.zero_ranges()) {
        for (uint64_t page = range.first_block / kPageBlocks; page * kPageBlocks < range.end_block;
             ++page) {
            plan.push_back({page, 0, 0});
        }
    }
    if (plan.size() == with_blocks) return plan;
    // The one with blocks, if any, comes first among equals, so it is the one that stays.
    std::sort(plan.begin(), plan.end(), [](const PageWork& a, const PageWork& b) {
        return a.page != b.page ? a.page < b.page : a.count > b.count;
    });
    plan.erase(std::unique(plan.begin(), plan.end(),
                           [](const PageWork& a, const PageWork& b) { return a.page == b.page; }),
               plan.end());
    return plan;
}

Task<void> Checkpoint::write_page(PageWork work) {
    const Status status = co_await change_page(work);
    if (!status.ok() && outcome_.ok()) outcome_ = status;
    progress_.notify_all();
}

Task<Status> Checkpoint::change_page(PageWork work) {
    const uint64_t first_block = work.page * kPageBlocks;
    const uint64_t end_block = std::min(first_block + kPageBlocks, layout_.volume_blocks());
    std::array<uint64_t, kPageBlocks> values{};
    uint64_t sequence = 0;
    const std::optional<ZeroRange> over = slice_.next_zero_range(first_block);
    const bool replaced = over && over->first_block <= first_block && over->end_block >= end_block;
    // A table that cannot be read is as good as a damaged one: both can be repaired, as a write
    // that fails below cannot.
    const Result<PageName> named = co_await table_.page_name(work.page);
    if (!named.ok()) co_return Error{Errc::corrupt, named.error().os_errno, "page index"};
    if (!replaced) {
        const Status status = co_await table_.lookup(first_block, values);
        if (!status.ok()) co_return Error{Errc::corrupt, status.error().os_errno, "checksum page"};
    }
    for (std::optional<ZeroRange> zero = over; zero && zero->first_block < end_block;
         zero = slice_.next_zero_range(zero->end_block)) {
        const uint64_t from = std::max(zero->first_block, first_block);
        const uint64_t to = std::min(zero->end_block, end_block);
        std::fill_n(values.begin() + static_cast<ptrdiff_t>(from - first_block), to - from, 0);
        sequence = std::max(sequence, zero->sequence);
    }
    for (size_t i = work.first; i < work.first + work.count; ++i) {
        values[blocks_[i].number - first_block] = blocks_[i].version.checksum;
        sequence = std::max(sequence, blocks_[i].version.sequence);
    }
    CHECK(sequence != 0);
    if (std::all_of(values.begin(), values.end(), [](uint64_t value) { return value == 0; })) {
        co_return co_await table_.mark_zero(work.page, sequence);
    }
    ChecksumPage page;
    std::copy(values.begin(), values.end(), std::begin(page.values));
    co_return co_await table_.write_page(work.page, page, sequence);
}

}  // namespace gemel::blockdev
