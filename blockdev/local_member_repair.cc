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
    std::copy(sums.begin(), sums.end(), std::begin(out.values.values));
    add_logged(page, version, name.value().sequence, out);
    co_return Status::success();
}

Task<Status> LocalMember::page_values_if(uint64_t page, PageVersion version,
                                         const ChecksumPage& found, PageValues& out) {
    const Result<PageName> name = co_await table_.page_name(page);
    if (!name.ok()) co_return name.error();
    const PageName& wanted = name.value();
    if (wanted.state != PageState::data ||
        table_.page_checksum(page, wanted.slot, found) != wanted.checksum) {
        co_return Error{Errc::corrupt, 0, "another page than the index names"};
    }
    out.values = found;
    add_logged(page, version, wanted.sequence, out);
    co_return Status::success();
}

// Completes `out`, whose checksums are those of the blocks at home.
void LocalMember::add_logged(uint64_t page, PageVersion version, uint64_t sequence,
                             PageValues& out) const {
    const uint64_t first = page * kPageBlocks;
    const uint64_t count = std::min(kPageBlocks, layout_.volume_blocks() - first);
    out.sequence = sequence;
    for (uint64_t i = 0; version != PageVersion::home && i < count; ++i) {
        const std::optional<BlockVersion> logged = overlay_.find(first + i);
        if (!logged) continue;
        out.values.values[i] = logged->checksum;
        out.sequence = std::max(out.sequence, logged->sequence);
    }
    const bool blank = std::all_of(std::begin(out.values.values), std::end(out.values.values),
                                   [](uint64_t sum) { return sum == 0; });
    out.state = !blank              ? PageState::data
                : out.sequence == 0 ? PageState::never_written
                                    : PageState::zero;
}

Task<Status> LocalMember::read_table_slot(uint64_t page, unsigned slot, ChecksumPage& out) {
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    const uint64_t offset = layout_.checksum_page_offset(page, slot);
    const Status status = co_await disk_->read(offset, {buffer.get(), sizeof(ChecksumPage)});
    if (status.ok()) std::memcpy(&out, buffer.get(), sizeof(ChecksumPage));
    co_return status;
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
    ChecksumPage values{};
    const Status status = co_await read_table_slot(page, name.value().slot ^ 1, values);
    if (!status.ok()) co_return status.error();
    co_return values.values[block % kPageBlocks];
}

std::optional<uint64_t> LocalMember::logged_checksum(uint64_t block) const {
    const std::optional<BlockVersion> version = overlay_.find(block);
    if (!version) return std::nullopt;
    return version->checksum;
}

Task<Status> LocalMember::read_raw(uint64_t first_block, uint64_t count, std::byte* out) {
    co_return co_await disk_->read(layout_.home(first_block), {out, count * kBlockSize});
}

// What is only in this member's log is not at home, and with the log it would be lost. So its block
// gets a checksum that no content has, until its checkpoint: should the log be of no use any more,
// nothing says that the block is what it must be.
class LocalMember::SourceForHome final : public TableSource {
public:
    SourceForHome(const LocalMember& member, TableSource& source)
        : member_(member), source_(source) {}

    Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) override {
        const Status known = co_await source_.page_values(page, version, out);
        if (known.ok() && version != PageVersion::home) hide_logged(page, out);
        co_return known;
    }
    Task<Result<bool>> candidate(uint64_t page, size_t number, ChecksumPage& out) override {
        return source_.candidate(page, number, out);
    }

private:
    void hide_logged(uint64_t page, PageValues& out) const {
        if (member_.overlay_.misses(page * kPageBlocks, kPageBlocks)) return;
        for (uint64_t i = 0; i < kPageBlocks; ++i) {
            const std::optional<BlockVersion> logged =
                member_.overlay_.find(page * kPageBlocks + i);
            if (!logged || logged->checksum == 0) continue;
            const uint64_t nothing = logged->checksum ^ 1;
            out.values.values[i] = nothing != 0 ? nothing : ~logged->checksum;
            out.state = PageState::data;
        }
    }

    const LocalMember& member_;
    TableSource& source_;
};

Task<Status> LocalMember::repair_table(uint64_t page, std::shared_ptr<TableSource> source,
                                       bool rebuild) {
    co_await table_mutex_.lock();
    SourceForHome home(*this, *source);
    TableRepair repair(*disk_, layout_, table_, home);
    Status status = co_await repair.run(page, rebuild);
    if (status.ok()) status = co_await write_table();
    if (status.ok()) counters_.tables_repaired += repair.repaired();
    table_mutex_.unlock();
    co_return status;
}

void LocalMember::take_over(MemberHealth health) {
    counters_.blocks_verified = health.blocks_verified;
    counters_.mismatches = health.mismatches;
    counters_.blocks_healed = health.blocks_healed;
    counters_.tables_repaired = health.tables_repaired;
    counters_.log_blocks_healed = health.log_blocks_healed;
    counters_.read_errors = health.read_errors;
    counters_.write_errors = health.write_errors;
    health_ = std::move(health);
}

// What was saved may be older.
void LocalMember::resume_counters(const MemberCounters& before) {
    const auto resume = [](uint64_t& counter, uint64_t was) { counter = std::max(counter, was); };
    resume(counters_.blocks_read, before.blocks_read);
    resume(counters_.blocks_verified, before.blocks_verified);
    resume(counters_.mismatches, before.mismatches);
    resume(counters_.read_errors, before.read_errors);
    resume(counters_.write_errors, before.write_errors);
    resume(counters_.checkpoints, before.checkpoints);
    resume(counters_.blocks_healed, before.blocks_healed);
    resume(counters_.tables_repaired, before.tables_repaired);
    resume(counters_.log_blocks_healed, before.log_blocks_healed);
}

// As the end of a checkpoint, with the tail where it was.
Task<Status> LocalMember::write_table() {
    const Status stable = co_await disk_->sync();
    if (!stable.ok() || !table_.has_changes()) co_return stable;
    const Status index = co_await table_.write_index();
    if (!index.ok()) co_return index;
    const Status flushed = co_await disk_->sync();
    if (!flushed.ok()) co_return flushed;
    const Status written = co_await move_tail(superblocks_.current().tail);
    if (!written.ok()) co_return written;
    table_.commit_roots();
    co_return Status::success();
}

}  // namespace gemel::blockdev
