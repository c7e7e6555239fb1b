// SPDX-License-Identifier: Apache-2.0
//
// The parts of LocalMember that put right what was damaged.
#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/local_member.h"
#include "blockdev/member_lock.h"
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

Task<Status> LocalMember::repair_table(uint64_t page, std::shared_ptr<TableSource> source,
                                       bool rebuild) {
    co_await table_mutex_.lock();
    TableRepair repair(*disk_, layout_, table_, *source);
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

Task<Status> LocalMember::save_health(MemberHealth health) {
    health.blocks_verified = counters_.blocks_verified;
    health.mismatches = counters_.mismatches;
    health.blocks_healed = counters_.blocks_healed;
    health.tables_repaired = counters_.tables_repaired;
    health.log_blocks_healed = counters_.log_blocks_healed;
    health.read_errors = counters_.read_errors;
    health.write_errors = counters_.write_errors;
    health.generation = health_.generation + 1;
    health_ = std::move(health);
    const Status status = co_await write_health(*disk_, superblock().member, health_);
    if (!status.ok()) ++counters_.write_errors;
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
    const Status written = co_await move_tail(superblocks_.current().tail);
    if (!written.ok()) co_return written;
    table_.commit_roots();
    co_return Status::success();
}

Task<Result<bool>> LocalMember::inspect_table(uint64_t page) {
    co_await table_mutex_.lock();
    const auto found = co_await table_.inspect(page);
    table_mutex_.unlock();
    if (!found.ok()) co_return found.error();
    counters_.tables_repaired += found.value().rewritten;
    co_return found.value().fault == TableFault::none;
}

Task<Result<uint64_t>> LocalMember::inspect_log_and_roots() {
    co_await table_mutex_.lock();  // Also keeps the log's tail and the superblocks where they are.
    const Result<uint64_t> log = co_await inspect_log();
    co_await superblock_mutex_.lock();
    const Result<uint64_t> roots = co_await inspect_roots();
    superblock_mutex_.unlock();
    table_mutex_.unlock();
    if (!log.ok()) co_return log;
    if (!roots.ok()) co_return roots;
    counters_.log_blocks_healed += log.value() + roots.value();
    co_return log.value() + roots.value();
}

// Every batch in the log is still in memory. Records are only added meanwhile, at the end.
Task<Result<uint64_t>> LocalMember::inspect_log() {
    uint64_t healed = 0;
    AlignedBytes found = allocate_aligned(kMaximumBatchSize);
    const size_t count = log_.records().size();
    for (size_t i = 0; i < count; ++i) {
        const LogWriter::Record& record = log_.records()[i];
        if (!record.logged) break;
        const BatchRef batch = record.batch;
        const std::span<const std::byte> right = batch->bytes();
        const uint64_t offset = kLogOffset + record.offset;
        const Status read = co_await disk_->read(offset, {found.get(), right.size()});
        if (read.ok() && std::memcmp(found.get(), right.data(), right.size()) == 0) continue;
        const Status written = co_await disk_->write(offset, right);
        if (!written.ok()) co_return written.error();
        const Status again = co_await disk_->read(offset, {found.get(), right.size()});
        if (!again.ok()) co_return again.error();
        if (std::memcmp(found.get(), right.data(), right.size()) != 0) {
            co_return Error{Errc::io, 0, "what was written does not stay"};
        }
        ++healed;
    }
    co_return healed;
}

Task<Result<uint64_t>> LocalMember::inspect_roots() {
    const Outcome<SuperblockReading> reading = co_await read_superblocks(*disk_);
    const bool newest = reading.ok() && reading.value().superblock->generation ==
                                            superblocks_.current().generation.get();
    const bool whole =
        newest && reading.value().fault_a == nullptr && reading.value().fault_b == nullptr;
    uint64_t healed = 0;
    if (!whole) {
        // Of two damaged copies, or of a newest one that is not there, both are written.
        superblocks_.editable() = superblocks_.current();
        const Status written = co_await superblocks_.write_both();
        if (!written.ok()) co_return written.error();
        ++healed;
    }
    const std::unique_ptr<OwnerRecord> owner = co_await read_owner(*disk_);
    if (owner == nullptr || owner->pid == 0) {
        const Status owned = co_await write_owner(env_, *disk_, superblock(), true);
        if (!owned.ok()) co_return owned.error();
        ++healed;
    }
    co_return healed;
}

}  // namespace gemel::blockdev
