// SPDX-License-Identifier: Apache-2.0
//
// The parts of LocalMember that bring it up to date, and help to bring others.
#include <algorithm>

#include "blockdev/assert.h"
#include "blockdev/local_member.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kPunchPiece = 1ull << 30;  // So that no request takes long.
constexpr size_t kPagesAtOnce = 16;

}  // namespace

// What is in the log first: a checkpoint moves it to the table meanwhile, never back.
Task<Result<std::vector<uint64_t>>> LocalMember::newer_pages(uint64_t after, uint64_t first_page,
                                                             uint64_t end_page) {
    std::vector<uint64_t> logged;
    const auto add = [&](uint64_t page) {
        if (page >= first_page && page < end_page) logged.push_back(page);
    };
    for (const Overlay::Block& block : overlay_.sorted_blocks()) {
        if (block.version.sequence > after) add(block.number / kPageBlocks);
    }
    for (const ZeroRange& range : overlay_.zero_ranges()) {
        if (range.sequence <= after) continue;
        const uint64_t last = (range.end_block - 1) / kPageBlocks;
        for (uint64_t page = range.first_block / kPageBlocks; page <= last; ++page) add(page);
    }
    Result<std::vector<uint64_t>> named = co_await table_.newer_pages(after, first_page, end_page);
    if (!named.ok()) co_return named;
    std::vector<uint64_t> pages = std::move(named).value();
    pages.insert(pages.end(), logged.begin(), logged.end());
    std::sort(pages.begin(), pages.end());
    pages.erase(std::unique(pages.begin(), pages.end()), pages.end());
    co_return pages;
}

Task<Result<std::vector<uint64_t>>> LocalMember::pages_in_log(uint64_t after) {
    co_return co_await reader_.pages_in_log(after);
}

// First it becomes known that nothing here counts: what the roots name now is overwritten from then
// on.
Task<Status> LocalMember::forget_content() {
    co_await table_mutex_.lock();
    log_.drop();
    overlay_ = Overlay{};
    copies_.clear();
    table_.forget_all();
    co_await superblock_mutex_.lock();
    Superblock& superblock = superblocks_.editable();
    superblock = superblocks_.current();
    std::copy(table_.roots().begin(), table_.roots().end(), superblock.roots);
    superblock.resync = ResyncRecord{};
    superblock.resync.state = static_cast<uint32_t>(ResyncState::running);
    Status status = co_await superblocks_.write_both();
    superblock_mutex_.unlock();
    if (status.ok()) status = co_await punch_home();
    table_mutex_.unlock();
    co_return status;
}

Task<Status> LocalMember::forget_page(uint64_t page) {
    co_await table_mutex_.lock();
    const Status status = co_await table_.mark_zero(page, 0);
    table_mutex_.unlock();
    co_return status;
}

Task<Status> LocalMember::punch_home() {
    for (uint64_t done = 0; done < layout_.volume_size; done += kPunchPiece) {
        const uint64_t length = std::min(kPunchPiece, layout_.volume_size - done);
        const Status status = co_await disk_->punch(layout_.home_offset + done, length);
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

void LocalMember::join_log(const LogTail& at) {
    CHECK(log_.records().empty() && overlay_.empty());
    log_.join(at);
    joined_at_ = at;
}

Task<Status> LocalMember::begin_resync(const ConfigurationRecord& configuration,
                                       std::span<const EpochRecord> history,
                                       const ResyncRecord& record) {
    CHECK(!history.empty());
    co_await superblock_mutex_.lock();
    Superblock& superblock = superblocks_.editable();
    superblock = superblocks_.current();
    superblock.tail = joined_at_;
    superblock.configuration = configuration;
    const size_t kept = std::min(history.size(), kEpochHistory);
    std::copy(history.end() - static_cast<ptrdiff_t>(kept), history.end(), superblock.epochs);
    superblock.epoch_count = static_cast<uint32_t>(kept);
    superblock.resync = record;
    const Status written = co_await superblocks_.write_both();
    superblock_mutex_.unlock();
    co_return written;
}

Task<Status> LocalMember::copy_in(uint64_t first_block, std::span<const uint64_t> checksums,
                                  const std::byte* data) {
    const uint64_t offset = layout_.home(first_block);
    const uint64_t length = checksums.size() * kBlockSize;
    Status status;
    if (data != nullptr) {
        status = co_await disk_->write(offset, {data, length});
    } else if (checksums.front() == 0) {
        status = co_await disk_->punch(offset, length);
    }
    if (!status.ok()) {
        ++counters_.write_errors;
        co_return status;
    }
    copies_.copy(first_block, checksums);
    co_return Status::success();
}

// The copies and the pages that name them become durable together: nothing names these pages before
// the superblock does.
Task<Status> LocalMember::end_window(const ResyncRecord& record) {
    co_await table_mutex_.lock();
    Status status = co_await name_copies();
    if (status.ok() && table_.has_changes()) status = co_await table_.write_index();
    if (status.ok()) status = co_await disk_->sync();
    if (status.ok()) {
        co_await superblock_mutex_.lock();
        Superblock& superblock = superblocks_.editable();
        superblock = superblocks_.current();
        superblock.resync = record;
        std::copy(table_.roots().begin(), table_.roots().end(), superblock.roots);
        status = co_await superblocks_.write_both();
        superblock_mutex_.unlock();
    }
    if (status.ok()) table_.commit_roots();
    table_mutex_.unlock();
    co_return status;
}

Task<Status> LocalMember::name_copies() {
    Status outcome;
    std::vector<uint64_t> pages;
    for (const auto& [page, copied] : copies_.pages()) pages.push_back(page);
    for (size_t next = 0; next < pages.size() && outcome.ok();) {
        Scope scope(env_);
        const size_t end = std::min(next + kPagesAtOnce, pages.size());
        for (; next < end; ++next) scope.start(name_copies_of(pages[next], outcome));
        co_await scope.join();
    }
    co_return outcome;
}

// Between looking at what is copied and changing the table nothing may suspend but the write
// itself: a block that is written meanwhile is in the log, and its checkpoint comes later.
Task<void> LocalMember::name_copies_of(uint64_t page, Status& outcome) {
    ChecksumPage values{};
    const uint64_t first = page * kPageBlocks;
    const uint64_t count = std::min(kPageBlocks, layout_.volume_blocks() - first);
    std::array<uint64_t, kPageBlocks> named{};
    Status status = co_await table_.lookup(first, {named.data(), count});
    if (status.ok()) {
        const CopiedBlocks::Page copied = copies_.pages().at(page);
        copies_.erase(page);
        bool blank = true;
        for (uint64_t i = 0; i < kPageBlocks; ++i) {
            values.values[i] = copied.copied[i] ? copied.checksums[i] : named[i];
            blank = blank && values.values[i] == 0;
        }
        const bool changed = !std::equal(named.begin(), named.end(), std::begin(values.values));
        if (!changed) {
            status = co_await table_.raise(page, copied.sequence);
        } else if (blank) {
            status = co_await table_.mark_zero(page, copied.sequence);
        } else {
            status = co_await table_.write_page(page, values, copied.sequence);
        }
    }
    if (!status.ok() && outcome.ok()) outcome = status;
}

}  // namespace gemel::blockdev
