// SPDX-License-Identifier: Apache-2.0
//
// The parts of LocalMember that look at what lies on the disk, at open and when it is scrubbed.
#include <array>
#include <cstring>
#include <utility>

#include "blockdev/assert.h"
#include "blockdev/local_member.h"
#include "blockdev/member_lock.h"

namespace gemel::blockdev {

// --- At open

// Before anybody listens: the event is written down with the next change of the health record.
void LocalMember::note(const std::string& event) {
    env_.log(LogLevel::warning, event + " member=" + path());
    health_.last_event = event;
    health_.last_event_s = env_.wall_clock_s();
}

// Whatever a dead process had in flight may be torn, and of the superblocks one may be behind by
// one step. After an orderly stop that is damage.
Task<void> LocalMember::judge_finding(const SuperblockReading& reading,
                                      const OwnerRecord* last_owner) {
    closed_cleanly_ = last_owner != nullptr && last_owner->pid == 0;
    superblocks_alike_ = reading.alike;
    const uint64_t damaged_health =
        co_await count_damaged_health(*disk_, superblock().member, health_.generation);
    health_is_whole_ = damaged_health == 0;
    constexpr const char* kCopies[] = {"A", "B"};
    const char* faults[] = {reading.fault_a, reading.fault_b};
    for (size_t copy = 0; copy < 2; ++copy) {
        if (faults[copy] == nullptr) continue;
        note(std::string("event=superblock_damaged copy=") + kCopies[copy] + " fault=\"" +
             faults[copy] + "\"");
    }
    const bool valid = faults[0] == nullptr && faults[1] == nullptr;
    const bool lost_one = reading.lost_one || (valid && !reading.alike && closed_cleanly_);
    if (lost_one) note("event=superblock_was_old");
    if (last_owner == nullptr) note("event=owner_record_damaged");
    if (damaged_health != 0 && closed_cleanly_) note("event=health_record_damaged");
    if (closed_cleanly_) damaged_at_open_ = damaged_health + (valid ? 0 : 1);
    damaged_at_open_ += lost_one ? 1 : 0;
}

Task<Status> LocalMember::heal_finding() {
    if (!superblocks_alike_) {
        co_await superblock_mutex_.lock();
        const Status written = co_await superblocks_.write_one();
        superblock_mutex_.unlock();
        if (!written.ok()) co_return written;
        superblocks_alike_ = true;
    }
    if (!health_is_whole_) {
        const Status written = co_await write_health_anew();
        if (!written.ok()) co_return written;
        health_is_whole_ = true;
    }
    counters_.log_blocks_healed += std::exchange(damaged_at_open_, 0);
    co_return Status::success();
}

// --- While it serves

Task<Status> LocalMember::save_health(MemberHealth health) {
    health.blocks_verified = counters_.blocks_verified;
    health.mismatches = counters_.mismatches;
    health.blocks_healed = counters_.blocks_healed;
    health.tables_repaired = counters_.tables_repaired;
    health.log_blocks_healed = counters_.log_blocks_healed;
    health.read_errors = counters_.read_errors;
    health.write_errors = counters_.write_errors;
    co_await health_mutex_.lock();
    health.generation = health_.generation + 1;
    health_ = std::move(health);
    const Status status = co_await write_health(*disk_, superblock().member, health_);
    health_mutex_.unlock();
    if (!status.ok()) ++counters_.write_errors;
    co_return status;
}

Task<Result<bool>> LocalMember::inspect_table(uint64_t page) {
    co_await table_mutex_.lock();
    const auto found = co_await table_.inspect(page);
    table_mutex_.unlock();
    if (!found.ok()) co_return found.error();
    counters_.tables_repaired += found.value().rewritten;
    co_return found.value().fault == TableFault::none;
}

// No checkpoint moves any of them meanwhile, and what is in the log may be on its way.
Task<Result<std::vector<StrayBlock>>> LocalMember::inspect_zeros(uint64_t first_block,
                                                                 uint64_t count) {
    CHECK(count <= kPageBlocks &&
          first_block / kPageBlocks == (first_block + count - 1) / kPageBlocks);
    std::vector<StrayBlock> strays;
    std::array<uint64_t, kPageBlocks> sums;
    co_await table_mutex_.lock();
    const Result<PageName> name = co_await table_.page_name(first_block / kPageBlocks);
    Status status;
    if (!name.ok()) status = name.error();
    const bool written = name.ok() && name.value().state != PageState::never_written;
    if (written) status = co_await table_.lookup(first_block, {sums.data(), count});
    for (uint64_t begin = 0; written && status.ok() && begin < count;) {
        uint64_t end = begin;
        while (end < count && sums[end] == 0 && !overlay_.find(first_block + end)) ++end;
        if (end > begin) status = co_await clear_strays(first_block + begin, end - begin, strays);
        begin = end + 1;
    }
    table_mutex_.unlock();
    counters_.mismatches += strays.size();
    if (!status.ok()) co_return status.error();
    counters_.blocks_healed += strays.size();
    co_return strays;
}

Task<Status> LocalMember::clear_strays(uint64_t first_block, uint64_t count,
                                       std::vector<StrayBlock>& strays) {
    const uint64_t offset = layout_.home(first_block);
    const uint64_t length = count * kBlockSize;
    const AlignedBytes data = allocate_aligned(length);
    const Status read = co_await disk_->read(offset, {data.get(), length});
    if (!read.ok() || all_zero({data.get(), length})) co_return read;
    for (uint64_t i = 0; i < count; ++i) {
        const std::byte* content = data.get() + i * kBlockSize;
        if (all_zero({content, kBlockSize})) continue;
        strays.push_back({first_block + i, hasher_.checksum(first_block + i, content)});
    }
    Status status;
    if (layout_.preallocated) {
        status = co_await disk_->zero(offset, length);
    } else {
        status = co_await disk_->punch(offset, length);
    }
    if (!status.ok()) co_return status;
    status = co_await disk_->read(offset, {data.get(), length});
    if (status.ok() && !all_zero({data.get(), length})) {
        status = Error{Errc::corrupt, 0, "what was cleared does not stay so"};
    }
    co_return status;
}

Task<Result<uint64_t>> LocalMember::inspect_log_and_roots() {
    co_await table_mutex_.lock();  // Also keeps the log's tail and the superblocks where they are.
    const Result<uint64_t> log = co_await inspect_log();
    co_await superblock_mutex_.lock();
    const Result<uint64_t> roots = co_await inspect_roots();
    superblock_mutex_.unlock();
    table_mutex_.unlock();
    const Result<uint64_t> health = co_await inspect_health();
    uint64_t healed = 0;
    Result<uint64_t> outcome = healed;
    for (const Result<uint64_t>* part : {&log, &roots, &health}) {
        if (part->ok()) healed += part->value();
        if (!part->ok() && outcome.ok()) outcome = *part;
    }
    counters_.log_blocks_healed += healed;
    if (outcome.ok()) outcome = healed;
    co_return outcome;
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

// Either copy must be as good as the other: one that is only older proves itself, and would take
// the member back if it became the only one.
Task<Result<uint64_t>> LocalMember::inspect_roots() {
    const Outcome<SuperblockReading> reading = co_await read_superblocks(*disk_);
    const bool whole =
        reading.ok() && reading.value().alike &&
        reading.value().superblock->generation == superblocks_.current().generation.get();
    uint64_t healed = 0;
    if (!whole) {
        // Of two damaged copies, or of a newest one that is not there, both are written.
        superblocks_.editable() = superblocks_.current();
        const Status written = co_await superblocks_.write_both();
        if (!written.ok()) co_return written.error();
        ++healed;
    }
    const std::unique_ptr<OwnerRecord> owner = co_await read_owner(*disk_);
    if (owner == nullptr || !is_own_record(env_, *owner, superblock())) {
        const Status owned = co_await write_owner(env_, *disk_, superblock(), true);
        if (!owned.ok()) co_return owned.error();
        ++healed;
    }
    co_return healed;
}

Task<Result<uint64_t>> LocalMember::inspect_health() {
    co_await health_mutex_.lock();
    const uint64_t damaged =
        co_await count_damaged_health(*disk_, superblock().member, health_.generation);
    Status written;
    if (damaged != 0) written = co_await write_health_anew();
    health_mutex_.unlock();
    if (!written.ok()) co_return written.error();
    co_return damaged;
}

// Into both slots.
Task<Status> LocalMember::write_health_anew() {
    for (int slot = 0; slot < 2; ++slot) {
        ++health_.generation;
        const Status written = co_await write_health(*disk_, superblock().member, health_);
        if (!written.ok()) co_return written;
    }
    co_return Status::success();
}

}  // namespace gemel::blockdev
