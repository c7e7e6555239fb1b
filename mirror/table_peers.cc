// SPDX-License-Identifier: Apache-2.0
#include "mirror/table_peers.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace gemel::mirror {

using blockdev::ChecksumPage;
using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::Member;
using blockdev::PageState;
using blockdev::PageValues;
using blockdev::PageVersion;

namespace {

class TablePeers final : public blockdev::TableSource {
public:
    TablePeers(std::span<Member* const> members, size_t index)
        : members_(members.begin(), members.end()),
          index_(index),
          blocks_(members[index]->layout().volume_blocks()),
          hasher_(members[index]->superblock().secret) {}

    Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) override;
    Task<Result<bool>> candidate(uint64_t page, size_t number, ChecksumPage& out) override;

private:
    Task<Status> prove(uint64_t page, PageVersion version, PageValues& out);
    Task<Status> agree_on(uint64_t page, PageValues& out);
    uint64_t agreed_checksum(uint64_t block, size_t at) const;

    std::vector<Member*> members_;
    size_t index_;
    uint64_t blocks_;
    ecc::BlockHasher hasher_;
    std::vector<AlignedBytes> homes_;  // The page's data, of every member that can be read.
};

Task<Status> TablePeers::page_values(uint64_t page, PageVersion version, PageValues& out) {
    Status status;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (i == index_) continue;
        status = co_await members_[i]->page_values(page, version, out);
        if (status.ok()) co_return status;
    }
    status = co_await prove(page, version, out);
    if (status.ok() || version != PageVersion::agreed) co_return status;
    co_return co_await agree_on(page, out);
}

// No other member's copy of the page is right, but one that lies somewhere may be what another
// one's index names.
Task<Status> TablePeers::prove(uint64_t page, PageVersion version, PageValues& out) {
    ChecksumPage found{};
    for (size_t number = 0;; ++number) {
        const Result<bool> there = co_await candidate(page, number, found);
        if (!there.ok()) co_return there.error();
        if (!there.value()) break;
        for (size_t i = 0; i < members_.size(); ++i) {
            if (i == index_) continue;
            const Status proven = co_await members_[i]->page_values_if(page, version, found, out);
            if (proven.ok()) co_return proven;
        }
    }
    co_return Error{Errc::corrupt, 0, "the table is damaged on all members"};
}

// This member's own slots as well. What cannot be read is no candidate for anything.
Task<Result<bool>> TablePeers::candidate(uint64_t page, size_t number, ChecksumPage& out) {
    const size_t member = number / blockdev::kSlots;
    if (member >= members_.size()) co_return false;
    const auto slot = static_cast<unsigned>(number % blockdev::kSlots);
    const Status read = co_await members_[member]->read_table_slot(page, slot, out);
    if (!read.ok()) out = ChecksumPage{};
    co_return true;
}

// One member alone proves nothing: what it holds may be what a disk made of it.
Task<Status> TablePeers::agree_on(uint64_t page, PageValues& out) {
    const uint64_t first = page * kPageBlocks;
    const uint64_t count = std::min(kPageBlocks, blocks_ - first);
    homes_.clear();
    for (Member* member : members_) {
        AlignedBytes data = allocate_aligned(count * kBlockSize);
        const Status read = co_await member->read_raw(first, count, data.get());
        if (read.ok()) homes_.push_back(std::move(data));
        out.sequence = std::max(out.sequence, member->tail_sequence() - 1);
    }
    if (homes_.size() < 2) co_return Error{Errc::corrupt, 0, "the table is damaged on all members"};
    out.state = PageState::zero;
    for (uint64_t i = 0; i < count; ++i) {
        const uint64_t value = agreed_checksum(first + i, i);
        out.values.values[i] = value;
        if (value != 0) out.state = PageState::data;
    }
    homes_.clear();
    co_return Status::success();
}

uint64_t TablePeers::agreed_checksum(uint64_t block, size_t at) const {
    for (const Member* member : members_) {
        // The newest version is in a log, which proves itself; home does not count there.
        if (const auto logged = member->logged_checksum(block)) return *logged;
    }
    const std::byte* data = homes_.front().get() + at * kBlockSize;
    for (const AlignedBytes& home : homes_) {
        if (std::memcmp(home.get() + at * kBlockSize, data, kBlockSize) != 0) {
            return hasher_.checksum(block, data) ^ 1;  // No content has it that anybody holds.
        }
    }
    if (all_zero({data, kBlockSize})) return 0;
    return hasher_.checksum(block, data);
}

}  // namespace

Task<Status> repair_table(std::span<Member* const> members, size_t index, uint64_t page) {
    co_return co_await members[index]->repair_table(
        page, std::make_shared<TablePeers>(members, index), false);
}

Task<Status> rebuild_table(std::span<Member* const> members, size_t index, uint64_t page) {
    co_return co_await members[index]->repair_table(
        page, std::make_shared<TablePeers>(members, index), true);
}

}  // namespace gemel::mirror
