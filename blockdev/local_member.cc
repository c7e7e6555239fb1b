// SPDX-License-Identifier: Apache-2.0
#include "blockdev/local_member.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/checkpoint.h"
#include "blockdev/member_lock.h"

namespace gemel::blockdev {

Task<Outcome<std::unique_ptr<LocalMember>>> LocalMember::open(Env& env, std::string path,
                                                              size_t cache_bytes, BufferPool& pool,
                                                              uint64_t superblock_b) {
    Outcome<std::unique_ptr<Disk>> opened = env.open_disk(path, DiskOptions{});
    if (!opened.ok()) co_return opened.error();
    auto disk = std::make_unique<WatchedDisk>(env, std::move(opened).value());
    const Outcome<bool> locked = co_await lock_member(env, *disk);
    if (!locked.ok()) co_return locked.error();
    Outcome<SuperblockReading> reading = co_await read_superblocks(*disk, superblock_b);
    if (!reading.ok()) co_return reading.error();
    const uint64_t needed = layout_of(*reading.value().superblock).member_size();
    if (disk->size() < needed) {
        co_return Problem{Errc::corrupt, path + ": truncated: it has " +
                                             std::to_string(disk->size()) + " bytes and needs " +
                                             std::to_string(needed)};
    }
    const std::unique_ptr<OwnerRecord> last_owner = co_await read_owner(*disk);
    std::unique_ptr<LocalMember> member(new LocalMember(
        env, std::move(disk), std::move(reading.value().superblock), cache_bytes, pool));
    MemberHealth health = co_await read_health(*member->disk_, member->superblock().member);
    member->take_over(std::move(health));
    co_await member->judge_finding(reading.value(), last_owner.get());
    co_return member;
}

LocalMember::LocalMember(Env& env, std::unique_ptr<WatchedDisk> disk,
                         std::unique_ptr<Superblock> superblock, size_t cache_bytes,
                         BufferPool& pool)
    : env_(env),
      disk_(std::move(disk)),
      layout_(layout_of(*superblock)),
      hasher_(superblock->secret),
      superblocks_(*disk_, std::move(superblock)),
      table_(env, *disk_, layout_, superblocks_.current().member, cache_bytes),
      log_(env, *disk_, layout_, superblocks_.current().tail),
      reader_(*disk_, layout_, superblocks_.current().volume, hasher_, pool),
      junk_(allocate_aligned(kBlockSize)),
      table_mutex_(env),
      health_mutex_(env),
      superblock_mutex_(env) {
    table_.load_roots({superblocks_.current().roots, superblocks_.current().root_count});
}

// --- Log

void LocalMember::append(AppendRequest& request) {
    log_.append(request);
    overlay_.insert(*request.batch);
    if (!copies_.empty()) copies_.overwrite(*request.batch);
}

Task<Status> LocalMember::flush() { co_return co_await disk_->sync(); }

Task<Result<Member::Logged>> LocalMember::read_log(uint64_t head, ChainLink link) {
    const Result<LogReader::Found> found = co_await reader_.next(head, link);
    if (!found.ok()) co_return found.error();
    co_return Logged{found.value().batch, found.value().offset};
}

Task<Result<uint64_t>> LocalMember::highest_stable_point(Uuid epoch_id) {
    co_return co_await reader_.highest_stable_point(epoch_id);
}

Task<Status> LocalMember::complete_log(BatchRef batch, uint64_t offset, bool was_stable) {
    const Status written = co_await disk_->write(kLogOffset + offset, batch->bytes());
    if (!written.ok() || !was_stable) co_return written;
    ++counters_.log_blocks_healed;
    // Who settles counts them, and logs one line.
    health_.last_event = "event=log_healed write=" + std::to_string(batch->first_sequence());
    health_.last_event_s = env_.wall_clock_s();
    co_return written;
}

void LocalMember::adopt(BatchRef batch, uint64_t offset) {
    overlay_.insert(*batch);
    log_.adopt(std::move(batch), offset);
}

Task<Status> LocalMember::claim() {
    const Status owned = co_await write_owner(env_, *disk_, superblock(), true);
    if (!owned.ok()) co_return owned;
    co_return co_await heal_finding();
}

Task<Status> LocalMember::begin_epoch(const ConfigurationRecord& configuration,
                                      std::span<const EpochRecord> history) {
    CHECK(!table_mutex_.locked() && log_.records().empty());
    const EpochRecord& epoch = configuration.epoch;
    CHECK(log_.tail_after(0).sequence == epoch.first_sequence);
    log_.restart(chain_start(epoch.id, epoch.previous_hash));
    co_await superblock_mutex_.lock();
    Superblock& superblock = superblocks_.editable();
    superblock.tail = log_.tail_after(0);
    superblock.configuration = configuration;
    const size_t kept = std::min(history.size(), kEpochHistory - 1);
    std::copy(history.end() - static_cast<ptrdiff_t>(kept), history.end(), superblock.epochs);
    superblock.epochs[kept] = epoch;
    superblock.epoch_count = static_cast<uint32_t>(kept + 1);
    const Status written = co_await superblocks_.write_both();
    superblock_mutex_.unlock();
    co_return written;
}

Task<Status> LocalMember::write_configuration(const ConfigurationRecord& configuration) {
    co_await superblock_mutex_.lock();
    Superblock& superblock = superblocks_.editable();
    superblock = superblocks_.current();
    superblock.configuration = configuration;
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        const ConfiguredMember& listed = configuration.members[i];
        const bool in_sync = listed.state == static_cast<uint32_t>(ConfiguredState::in_sync);
        if (listed.uuid == superblock.member && in_sync) superblock.resync = ResyncRecord{};
    }
    const Status written = co_await superblocks_.write_both();
    superblock_mutex_.unlock();
    co_return written;
}

Task<Status> LocalMember::close() {
    co_return co_await write_owner(env_, *disk_, superblock(), false);
}

// --- Checkpoint

Task<Status> LocalMember::checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t window) {
    co_await table_mutex_.lock();
    const Status status = co_await checkpoint_taken(sequence, bytes_wanted, window);
    table_mutex_.unlock();
    co_return status;
}

Task<Status> LocalMember::checkpoint_taken(uint64_t sequence, uint64_t bytes_wanted,
                                           size_t window) {
    Overlay slice;
    size_t count = 0;
    uint64_t bytes = 0;
    uint64_t last = 0;
    for (const LogWriter::Record& record : log_.records()) {
        if (record.batch->last_sequence() > sequence || bytes >= bytes_wanted) break;
        // Of a member that does not count yet nobody waited for it.
        if (!record.logged) break;
        slice.insert(*record.batch);
        bytes += record.cost;
        last = record.batch->last_sequence();
        ++count;
    }
    if (count == 0) co_return Status::success();
    Checkpoint checkpoint(env_, *disk_, layout_, table_, hasher_, slice, window);
    Status status = co_await checkpoint.run();
    if (status.ok()) status = co_await move_tail(log_.tail_after(count));
    if (!status.ok()) {
        if (status.error().code == Errc::io) ++counters_.write_errors;
        co_return status;
    }
    table_.commit_roots();
    overlay_.remove(slice, last);
    log_.release(count);
    ++counters_.checkpoints;
    co_return Status::success();
}

// Together with the roots of the table as it is by now.
Task<Status> LocalMember::move_tail(const LogTail& tail) {
    co_await superblock_mutex_.lock();
    Superblock& superblock = superblocks_.editable();
    superblock = superblocks_.current();
    superblock.tail = tail;
    std::copy(table_.roots().begin(), table_.roots().end(), superblock.roots);
    const Status written = co_await superblocks_.write_both();
    superblock_mutex_.unlock();
    co_return written;
}

// --- Reading

bool LocalMember::read_from_memory(uint64_t block, std::byte* out) const {
    const std::optional<BlockVersion> version = overlay_.find(block);
    if (!version) return false;
    if (version->data != nullptr) {
        std::memcpy(out, version->data, kBlockSize);
    } else {
        std::memset(out, 0, kBlockSize);
    }
    return true;
}

bool LocalMember::try_read(uint64_t first_block, uint64_t count, std::byte* out) {
    for (uint64_t i = 0; i < count; ++i) {
        if (read_from_memory(first_block + i, out + i * kBlockSize)) continue;
        uint64_t checksum = 0;
        if (!table_.try_lookup(first_block + i, {&checksum, 1}) || checksum != 0) return false;
        std::memset(out + i * kBlockSize, 0, kBlockSize);
    }
    return true;
}

Task<Status> LocalMember::read(uint64_t first_block, uint64_t count, std::byte* out) {
    for (uint64_t done = 0; done < count; done += kMaximumReadBlocks) {
        const uint64_t part = std::min(count - done, kMaximumReadBlocks);
        const uint64_t block = first_block + done;
        std::byte* place = out + done * kBlockSize;
        Status status;
        if (part <= kSmallReadBlocks) {
            status = co_await read_chunk<kSmallReadBlocks>(block, part, place);
        } else {
            status = co_await read_chunk<kMaximumReadBlocks>(block, part, place);
        }
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

// One request to the device for all that is not in memory; what lies between goes to junk_. The
// blocks served from memory are copied before the first suspension: nobody writes to them while the
// caller keeps writers away, and a checkpoint only moves them.
template <size_t Limit>
Task<Status> LocalMember::read_chunk(uint64_t first_block, uint64_t count, std::byte* out) {
    std::array<uint64_t, Limit> checksums{};
    std::array<bool, Limit> served{};
    size_t missing = 0;
    for (uint64_t i = 0; i < count; ++i) {
        served[i] = read_from_memory(first_block + i, out + i * kBlockSize);
        missing += served[i] ? 0 : 1;
    }
    counters_.blocks_read += count;
    if (missing == 0) co_return Status::success();
    const std::span<uint64_t> sums(checksums.data(), count);
    if (!table_.try_lookup(first_block, sums)) {
        const Status status = co_await table_.lookup(first_block, sums);
        if (!status.ok()) {
            if (status.error().code != Errc::corrupt) ++counters_.read_errors;
            co_return status;
        }
    }
    std::array<IoSegment, Limit> segments;
    size_t used = 0;
    uint64_t begin = count;
    uint64_t end = 0;
    for (uint64_t i = 0; i < count; ++i) {
        std::byte* place = out + i * kBlockSize;
        if (served[i]) {
            sums[i] = 0;
        } else if (sums[i] == 0) {
            std::memset(place, 0, kBlockSize);
        }
        if (sums[i] == 0 && begin == count) continue;
        if (begin == count) begin = i;
        if (sums[i] != 0) end = i + 1;
        std::byte* target = sums[i] != 0 ? place : junk_.get();
        if (used > 0 && sums[i] != 0 &&
            segments[used - 1].data + segments[used - 1].length == target) {
            segments[used - 1].length += kBlockSize;
        } else {
            segments[used++] = {target, kBlockSize};
        }
    }
    if (begin == count) co_return Status::success();
    while (segments[used - 1].data == junk_.get()) --used;
    const std::span<const IoSegment> wanted(segments.data(), used);
    const Status status = co_await disk_->read_segments(layout_.home(first_block + begin), wanted);
    if (!status.ok()) {
        ++counters_.read_errors;
        co_return status;
    }
    co_return verify(first_block + begin, sums.subspan(begin, end - begin),
                     out + begin * kBlockSize);
}

// Whether the home copy of a block may have another version than the one with this checksum. Nobody
// writes to it while somebody waits for a read; of one that nobody waits for any more it is not
// known.
bool LocalMember::has_changed(uint64_t block, uint64_t checksum) {
    if (overlay_.find(block)) return true;
    uint64_t now = 0;
    return !table_.try_lookup(block, {&now, 1}) || now != checksum;
}

Status LocalMember::verify(uint64_t first_block, std::span<const uint64_t> checksums,
                           const std::byte* out) {
    for (size_t i = 0; i < checksums.size(); ++i) {
        if (checksums[i] == 0) continue;
        ++counters_.blocks_verified;
        if (hasher_.checksum(first_block + i, out + i * kBlockSize) == checksums[i]) continue;
        if (has_changed(first_block + i, checksums[i])) {
            return Error{Errc::stale, 0, "a newer version came meanwhile"};
        }
        ++counters_.mismatches;
        return Error{Errc::corrupt, 0, "block checksum"};
    }
    return Status::success();
}

Task<Result<bool>> LocalMember::page_is_zero(uint64_t page) {
    const Result<PageName> name = co_await table_.page_name(page);
    if (!name.ok()) co_return name.error();
    co_return name.value().state != PageState::data;
}

Task<Result<BlockRun>> LocalMember::run_at(uint64_t first_block, uint64_t limit) {
    BlockRun run;
    while (run.count < limit) {
        const uint64_t block = first_block + run.count;
        const uint64_t in_page = kPageBlocks - block % kPageBlocks;
        const uint64_t part = std::min(limit - run.count, in_page);
        const Result<bool> blank = co_await page_is_zero(block / kPageBlocks);
        if (!blank.ok()) co_return blank.error();
        if (blank.value() && overlay_.misses(block, part)) {
            if (run.count > 0 && !run.zero) co_return run;
            run.zero = true;
            run.count += part;
            continue;
        }
        std::array<uint64_t, kPageBlocks> sums;
        const Status status = co_await table_.lookup(block, {sums.data(), part});
        if (!status.ok()) co_return status.error();
        for (uint64_t i = 0; i < part; ++i) {
            const std::optional<BlockVersion> version = overlay_.find(block + i);
            const bool zero = version ? version->data == nullptr : sums[i] == 0;
            if (run.count == 0) run.zero = zero;
            if (zero != run.zero) co_return run;
            ++run.count;
        }
    }
    co_return run;
}

Task<Result<bool>> LocalMember::is_allocated(uint64_t first_block, uint64_t count) {
    if (layout_.preallocated) co_return true;
    for (uint64_t done = 0; done < count; done += kPageBlocks) {
        std::array<uint64_t, kPageBlocks> sums;
        const std::span<uint64_t> part(sums.data(), std::min(count - done, kPageBlocks));
        const Status status = co_await table_.lookup(first_block + done, part);
        if (!status.ok()) co_return status.error();
        for (uint64_t sum : part) {
            if (sum == 0) co_return false;
        }
    }
    co_return true;
}

}  // namespace gemel::blockdev
