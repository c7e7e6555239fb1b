// SPDX-License-Identifier: Apache-2.0
//
// The parts of LocalMember that put right what was damaged.
#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/local_member.h"
#include "blockdev/table_repair.h"

namespace gemel::blockdev {

Task<Status> LocalMember::rewrite(uint64_t block, const std::byte* data) {
    uint64_t checksum = 0;
    const Status known = co_await table_.lookup(block, {&checksum, 1});
    if (!known.ok()) co_return known;
    // In the log: the checkpoint brings it home, and must not find another write to it in flight.
    if (overlay_.find(block) || checksum == 0) co_return Status::success();
    if (hasher_.checksum(block, data) != checksum) {
        co_return Error{Errc::stale, 0, "the members' checksums differ"};
    }
    AlignedBytes buffer = allocate_aligned(kBlockSize);
    std::memcpy(buffer.get(), data, kBlockSize);
    const Status written = co_await disk_->write(layout_.home(block), {buffer.get(), kBlockSize});
    if (!written.ok()) {
        ++counters_.write_errors;
        co_return written;
    }
    std::memset(buffer.get(), 0, kBlockSize);
    const Status read = co_await disk_->read(layout_.home(block), {buffer.get(), kBlockSize});
    if (!read.ok()) {
        ++counters_.read_errors;
        co_return read;
    }
    if (hasher_.checksum(block, buffer.get()) != checksum) {
        co_return Error{Errc::corrupt, 0, "what was written does not stay"};
    }
    ++counters_.blocks_healed;
    co_return Status::success();
}

// Between reading the table and looking into the overlay nothing may suspend: a checkpoint moves
// blocks from one to the other.
Task<Status> LocalMember::page_values(uint64_t page, PageVersion version, PageValues& out) {
    const uint64_t first = page * kPageBlocks;
    const uint64_t count = std::min(kPageBlocks, layout_.volume_blocks() - first);
    std::array<uint64_t, kPageBlocks> sums{};
    const Status known = co_await table_.lookup(first, {sums.data(), count});
    if (!known.ok()) co_return known;
    const Result<PageName> name = co_await table_.page_name(page);  // In memory by now.
    if (!name.ok()) co_return name.error();
    out.sequence = name.value().sequence;
    for (uint64_t i = 0; version == PageVersion::current && i < count; ++i) {
        const std::optional<BlockVersion> logged = overlay_.find(first + i);
        if (!logged) continue;
        sums[i] = logged->checksum;
        out.sequence = std::max(out.sequence, logged->sequence);
    }
    std::copy(sums.begin(), sums.end(), std::begin(out.values.values));
    const bool blank = std::all_of(sums.begin(), sums.end(), [](uint64_t sum) { return sum == 0; });
    out.state = !blank              ? PageState::data
                : out.sequence == 0 ? PageState::never_written
                                    : PageState::zero;
    co_return Status::success();
}

Task<Result<uint64_t>> LocalMember::home_checksum(uint64_t block) {
    uint64_t checksum = 0;
    const Status known = co_await table_.lookup(block, {&checksum, 1});
    if (!known.ok()) co_return known.error();
    co_return checksum;
}

Task<Result<uint64_t>> LocalMember::previous_checksum(uint64_t block) {
    const uint64_t page = block / kPageBlocks;
    const Result<PageName> name = co_await table_.page_name(page);
    if (!name.ok()) co_return name.error();
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    const uint64_t offset = layout_.checksum_page_offset(page, name.value().slot ^ 1);
    const Status status = co_await disk_->read(offset, {buffer.get(), sizeof(ChecksumPage)});
    if (!status.ok()) co_return status.error();
    co_return reinterpret_cast<const ChecksumPage*>(buffer.get())->values[block % kPageBlocks];
}

std::optional<uint64_t> LocalMember::logged_checksum(uint64_t block) const {
    const std::optional<BlockVersion> version = overlay_.find(block);
    if (!version) return std::nullopt;
    return version->checksum;
}

Task<Status> LocalMember::read_raw(uint64_t first_block, uint64_t count, std::byte* out) {
    co_return co_await disk_->read(layout_.home(first_block), {out, count * kBlockSize});
}

Task<Status> LocalMember::repair_table(uint64_t page, TableSource& source) {
    co_await take_table();
    TableRepair repair(*disk_, layout_, table_, source);
    Status status = co_await repair.run(page);
    if (status.ok()) status = co_await write_table();
    if (status.ok()) counters_.tables_repaired += repair.repaired();
    give_table();
    co_return status;
}

// As the end of a checkpoint, with the tail where it was.
Task<Status> LocalMember::write_table() {
    const Status stable = co_await disk_->sync();
    if (!stable.ok() || !table_.has_changes()) co_return stable;
    const Status index = co_await table_.write_index();
    if (!index.ok()) co_return index;
    const Status flushed = co_await disk_->sync();
    if (!flushed.ok()) co_return flushed;
    Superblock& superblock = superblocks_.editable();
    superblock.tail = superblocks_.current().tail;
    std::copy(table_.roots().begin(), table_.roots().end(), superblock.roots);
    const Status written = co_await superblocks_.write_one();
    if (!written.ok()) co_return written;
    table_.commit_roots();
    co_return Status::success();
}

Task<Result<bool>> LocalMember::inspect_table(uint64_t page) {
    co_await take_table();
    const auto found = co_await table_.inspect(page);
    give_table();
    if (!found.ok()) co_return found.error();
    counters_.tables_repaired += found.value().rewritten;
    co_return found.value().fault == TableFault::none;
}

}  // namespace gemel::blockdev
