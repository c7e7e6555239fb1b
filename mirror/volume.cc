// SPDX-License-Identifier: Apache-2.0
#include "mirror/volume.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/assert.h"
#include "mirror/table_peers.h"
#include "mirror/write_plan.h"

namespace gemel::mirror {

using blockdev::EntryKind;
using blockdev::kBlockSize;
using blockdev::Member;

namespace {

// How much of the volume one look at its extents keeps writers away from.
constexpr uint64_t kExtentBlocks = (64ull << 20) / kBlockSize;

// Gives the members their places, each behind a guard. Returns the hasher that they share.
ecc::BlockHasher take_in(MemberSet& set, Env& env, std::vector<MemberPart> parts) {
    for (MemberPart& part : parts) {
        MemberSet::Slot& slot = set.add(part.uuid, std::move(part.path));
        slot.state = part.state;
        slot.why = std::move(part.why);
        slot.is_spare = part.is_spare;
        slot.stands_in = part.stands_in;
        slot.replaces = part.replaces;
        if (!part.member) continue;
        set.take_in(env, set.size() - 1, std::move(part.member));
        if (part.state != MemberState::in_sync) continue;
        slot.joined = true;
        slot.checkpoints = true;
        set.set_common(slot.member->layout(), slot.member->superblock().secret);
    }
    return set.hasher();
}

bool is_aligned(uint64_t offset, std::span<const std::byte> data) {
    return offset % kBlockSize == 0 && data.size() % kBlockSize == 0;
}

// A block that was partly zeroed. If nothing is left of it, it needs no space; otherwise it has
// some: at home, or promised when it was written.
blockdev::BatchWrite edge_write(uint64_t block, const std::byte* data, EntryKind kind) {
    if (all_zero({data, kBlockSize})) return {kind, block, 1, nullptr};
    return {EntryKind::write, block, 1, data};
}

bool is_io_aligned(const std::byte* memory) {
    return reinterpret_cast<uintptr_t>(memory) % kIoAlignment == 0;
}

}  // namespace

Volume::Volume(Env& env, VolumeParts parts)
    : env_(env),
      name_(std::move(parts.name)),
      pool_(std::move(parts.pool)),
      members_(env),
      uuid_(parts.uuid),
      witness_path_(parts.witness_path),
      keep_(std::move(parts.keep)),
      hasher_(take_in(members_, env, std::move(parts.members))),
      log_limit_(members_.layout().log_limit),
      locks_(env),
      sequencer_(env, members_, hasher_, *pool_,
                 {.volume = uuid_,
                  .epoch_id = parts.configuration.epoch.id,
                  .next_sequence = parts.configuration.epoch.first_sequence,
                  .chain_hash = parts.chain_hash},
                 [this](const MemberFailure& failure) { member_failed(failure); }),
      flusher_(env, members_, sequencer_,
               [this](const MemberFailure& failure) { member_failed(failure); }),
      pacer_(env, members_, sequencer_, flusher_,
             [this](const MemberFailure& failure) { member_failed(failure); }),
      space_(env, members_, sequencer_, pacer_),
      configurator_(
          env, members_,
          {.volume = uuid_, .witness_path = parts.witness_path, .in_force = parts.configuration},
          [this](const MemberFailure& failure) { member_failed(failure); }),
      watchdog_(env, members_, parts.limits,
                [this](const MemberFailure& failure) { member_failed(failure); }),
      slow_watch_(
          env, members_, sequencer_, parts.slow_limits,
          {.leave = [this](size_t index, const std::string& why) { member_lags(index, why); },
           .fail = [this](const MemberFailure& failure) { member_failed(failure); },
           .reconfigure = [this] { return reconfigured(); }}),
      health_(env, members_),
      healer_(env, members_, locks_, health_),
      reader_(env, members_, healer_, ReadLimits::within(parts.limits.request_ns)),
      pace_(env),
      scrub_(env, members_, locks_, healer_, health_, pace_, parts.scrub),
      resync_(env, members_, locks_, sequencer_, configurator_, healer_, pace_,
              std::move(parts.history)),
      rejoiner_(env, members_, resync_, health_, *pool_,
                {.volume = uuid_, .cache_bytes = parts.cache_bytes},
                [this](const MemberFailure& failure) { member_failed(failure); }),
      spares_(env, members_, [this] { scope_.start(reconfigure()); }),
      scope_(env),
      watch_scope_(env),
      closing_(env) {
    last_repairs_.fill({UINT64_MAX, 0});
    sequencer_.set_on_wants_room([this] { pacer_.note_progress(); });
    sequencer_.set_on_logged(
        [this](size_t index, uint64_t ns) { slow_watch_.note_append(index, ns); });
    flusher_.set_on_flushed(
        [this](size_t index, uint64_t ns) { slow_watch_.note_flush(index, ns); });
    geometry_.size = members_.layout().volume_size;
    geometry_.read_only = parts.read_only;
    members_.set_on_failure([this](const MemberFailure& failure) { member_failed(failure); });
    members_.set_on_move([this](size_t index, MemberState from, MemberState to) {
        env_.log(LogLevel::info, std::string("event=member_state from=") + mirror::name(from) +
                                     " to=" + mirror::name(to) + " member=" + members_[index].path);
        if (to == MemberState::removed) keep_description();
    });
    pacer_.set_repair([this](size_t index) { return repair_suspect(index); });
    scope_.start(pacer_.run());
    scope_.start(health_.run());
    scope_.start(healer_.run());
    scope_.start(scrub_.run());
    scope_.start(rejoiner_.run());
    scope_.start(slow_watch_.run());
    scope_.start(spares_.run());
    watch_scope_.start(watchdog_.run());
    watch_scope_.start(reader_.run());
}

Volume::~Volume() { CHECK(closed_); }

Status Volume::check_range(uint64_t offset, uint64_t length) const {
    if (offset > geometry_.size || length > geometry_.size - offset) {
        return Error{Errc::invalid, 0, "beyond the end of the volume"};
    }
    if (closed_) return Error{Errc::closed, 0, "the volume is closed"};
    if (stopped_) return Error{Errc::io, 0, "the volume has stopped"};
    return Status::success();
}

Status Volume::check_writable(uint64_t offset, uint64_t length) const {
    if (geometry_.read_only) return Error{Errc::read_only, 0, "the volume is served read-only"};
    return check_range(offset, length);
}

// --- Reading

Task<Status> Volume::read(uint64_t offset, std::span<std::byte> data) {
    const Status range = check_range(offset, data.size());
    if (!range.ok() || data.empty()) co_return range;
    ++counters_.reads;
    const BackgroundPace::Request request(pace_);
    counters_.bytes_read += data.size();
    RangeLock::Hold hold(locks_, offset / kBlockSize, divide_up(offset + data.size(), kBlockSize),
                         RangeLock::Mode::shared);
    co_await hold;
    // What was in the logs of a volume that stopped meanwhile may never have been committed.
    if (stopped_) co_return check_range(offset, data.size());
    if (is_aligned(offset, data) && is_io_aligned(data.data())) {
        co_return co_await reader_.read(offset / kBlockSize, data.size() / kBlockSize, data.data());
    }
    co_return co_await read_unaligned(offset, data);
}

// Through an aligned buffer, in pieces, so that its size is bounded.
Task<Status> Volume::read_unaligned(uint64_t offset, std::span<std::byte> data) {
    constexpr uint64_t kPiece = 1ull << 20;
    AlignedBytes buffer = allocate_aligned(std::min<uint64_t>(
        round_up(offset + data.size(), kBlockSize) - round_down(offset, kBlockSize), kPiece));
    for (uint64_t done = 0; done < data.size();) {
        const uint64_t at = offset + done;
        const uint64_t within = at % kBlockSize;
        const uint64_t length = std::min<uint64_t>(data.size() - done, kPiece - within);
        const Status status = co_await reader_.read(
            at / kBlockSize, divide_up(within + length, kBlockSize), buffer.get());
        if (!status.ok()) co_return status;
        std::memcpy(data.data() + done, buffer.get() + within, length);
        done += length;
    }
    co_return Status::success();
}

Task<Status> Volume::repair_suspect(size_t index) {
    if (!members_.readable(index)) co_return Error{Errc::corrupt, 0, "it is not in sync"};
    const std::optional<uint64_t> page = members_.member(index).take_suspect_page();
    if (!page) co_return Error{Errc::corrupt, 0, "nothing that can be repaired"};
    // A repair that did not help is not tried for ever.
    const std::pair<uint64_t, uint64_t> repair(*page,
                                               members_.member(index).counters().checkpoints);
    if (last_repairs_[index] == repair) co_return Error{Errc::corrupt, 0, "the repair was no help"};
    last_repairs_[index] = repair;
    env_.log(LogLevel::warning, members_[index].path + ": the checksums of blocks " +
                                    std::to_string(*page * blockdev::kPageBlocks) +
                                    "+512 are damaged; repairing them");
    const std::vector<Member*> members = members_.readable_members(index);
    co_return co_await repair_table(members, 0, *page);
}

// --- Writing

Task<Status> Volume::commit(std::span<Sequencer::Write> writes, bool fua) {
    const Status committed = co_await sequencer_.commit(writes);
    if (!committed.ok()) co_return committed;
    pacer_.note_progress();
    if (!health_.lost().empty()) {
        for (const Sequencer::Write& write : writes) {
            healer_.forget(write.what.first_block, write.what.block_count);
        }
    }
    if (!fua) co_return committed;
    const uint64_t sequence = writes.back().sequence;
    co_return co_await flusher_.flush_to(sequence);
}

Task<Status> Volume::write(uint64_t offset, std::span<const std::byte> data, WriteOptions options) {
    const Status range = check_writable(offset, data.size());
    if (!range.ok() || data.empty()) co_return range;
    ++counters_.writes;
    const BackgroundPace::Request request(pace_);
    counters_.bytes_written += data.size();
    const uint64_t first = offset / kBlockSize;
    const uint64_t end = divide_up(offset + data.size(), kBlockSize);
    RangeLock::Hold hold(locks_, first, end, RangeLock::Mode::exclusive);
    co_await hold;
    if (!space_.admits((end - first) * kBlockSize)) {
        const Status admitted = co_await space_.admit(first, end - first);
        if (!admitted.ok()) co_return admitted;
    }
    if (is_aligned(offset, data) && data.size() <= log_limit_) {
        co_return co_await write_simple(offset, data, options.fua);
    }
    co_return co_await write_pieces(offset, data, options.fua);
}

Task<Status> Volume::write_simple(uint64_t offset, std::span<const std::byte> data, bool fua) {
    std::array<Sequencer::Write, 1> write;
    write[0].what = {EntryKind::write, offset / kBlockSize,
                     static_cast<uint32_t>(data.size() / kBlockSize), data.data()};
    co_return co_await commit(write, fua);
}

// Partial blocks at either end are completed from what is there, verified, before the write is
// numbered. Up to the log limit all pieces go into one batch: all or none.
Task<Status> Volume::write_pieces(uint64_t offset, std::span<const std::byte> data, bool fua) {
    const WritePlan plan = plan_write(offset, data.size(), log_limit_);
    AlignedBytes edges;
    if (plan.head_bytes != 0 || plan.tail_bytes != 0) edges = allocate_aligned(2 * kBlockSize);
    std::vector<Sequencer::Write> writes;
    if (plan.head_bytes != 0) {
        const Status status = co_await reader_.read(plan.head_block, 1, edges.get());
        if (!status.ok()) co_return status;
        std::memcpy(edges.get() + plan.head_offset, data.data(), plan.head_bytes);
        writes.emplace_back().what = {EntryKind::write, plan.head_block, 1, edges.get()};
    }
    const std::byte* middle = data.data() + plan.head_bytes;
    for (uint64_t done = 0; done < plan.middle_blocks;) {
        const auto count = static_cast<uint32_t>(
            std::min<uint64_t>(plan.middle_blocks - done, blockdev::kMaximumPayloadBlocks));
        writes.emplace_back().what = {EntryKind::write, plan.middle_first + done, count,
                                      middle + done * kBlockSize};
        done += count;
    }
    if (plan.tail_bytes != 0) {
        std::byte* tail = edges.get() + kBlockSize;
        const Status status = co_await reader_.read(plan.tail_block, 1, tail);
        if (!status.ok()) co_return status;
        std::memcpy(tail, data.data() + data.size() - plan.tail_bytes, plan.tail_bytes);
        writes.emplace_back().what = {EntryKind::write, plan.tail_block, 1, tail};
    }
    for (size_t i = 0; i + 1 < writes.size(); ++i) writes[i].joined = plan.atomic;
    co_return co_await commit(writes, fua);
}

Task<Status> Volume::flush() {
    const Status range = check_range(0, 0);
    if (!range.ok()) co_return range;
    ++counters_.flushes;
    const RangeLock::Hold hold(locks_, 0, 0, RangeLock::Mode::shared);  // close() waits for it.
    co_return co_await flusher_.flush_to(sequencer_.commit_point());
}

Task<Status> Volume::clear_blocks(uint64_t first_block, uint64_t end_block, EntryKind kind,
                                  bool fua) {
    std::vector<Sequencer::Write> writes;
    for (uint64_t block = first_block; block < end_block;) {
        const auto count =
            static_cast<uint32_t>(std::min<uint64_t>(end_block - block, kMaximumClearBlocks));
        writes.emplace_back().what = {kind, block, count, nullptr};
        block += count;
    }
    if (writes.empty()) co_return Status::success();
    co_return co_await commit(writes, fua);
}

Task<Status> Volume::trim(uint64_t offset, uint64_t length, WriteOptions options) {
    const Status range = check_writable(offset, length);
    if (!range.ok()) co_return range;
    ++counters_.trims;
    const uint64_t first = divide_up(offset, kBlockSize);
    const uint64_t end = (offset + length) / kBlockSize;
    if (first >= end && options.fua) co_return co_await flush();
    if (first >= end) co_return range;
    RangeLock::Hold hold(locks_, first, end, RangeLock::Mode::exclusive);
    co_await hold;
    co_return co_await clear_blocks(first, end, EntryKind::trim, options.fua);
}

Task<Status> Volume::write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) {
    const Status range = check_writable(offset, length);
    if (!range.ok() || length == 0) co_return range;
    ++counters_.trims;
    const uint64_t first = offset / kBlockSize;
    const uint64_t end = divide_up(offset + length, kBlockSize);
    RangeLock::Hold hold(locks_, first, end, RangeLock::Mode::exclusive);
    co_await hold;
    if (options.keep_allocated && !space_.admits((end - first) * kBlockSize)) {
        const Status admitted = co_await space_.admit(first, end - first);
        if (!admitted.ok()) co_return admitted;
    }
    const SpaceGuard::Promise promise(space_,
                                      options.keep_allocated ? (end - first) * kBlockSize : 0);
    const WritePlan plan = plan_write(offset, length, log_limit_);
    const EntryKind kind = options.keep_allocated ? EntryKind::write_zeroes : EntryKind::trim;
    if (plan.head_bytes == 0 && plan.tail_bytes == 0) {
        co_return co_await clear_blocks(first, end, kind, options.fua);
    }
    AlignedBytes edges = allocate_aligned(2 * kBlockSize);
    std::vector<Sequencer::Write> writes;
    if (plan.head_bytes != 0) {
        const Status status = co_await reader_.read(plan.head_block, 1, edges.get());
        if (!status.ok()) co_return status;
        std::memset(edges.get() + plan.head_offset, 0, plan.head_bytes);
        writes.emplace_back().what = edge_write(plan.head_block, edges.get(), kind);
    }
    for (uint64_t done = 0; done < plan.middle_blocks;) {
        const auto count = static_cast<uint32_t>(
            std::min<uint64_t>(plan.middle_blocks - done, kMaximumClearBlocks));
        writes.emplace_back().what = {kind, plan.middle_first + done, count, nullptr};
        done += count;
    }
    if (plan.tail_bytes != 0) {
        std::byte* tail = edges.get() + kBlockSize;
        const Status status = co_await reader_.read(plan.tail_block, 1, tail);
        if (!status.ok()) co_return status;
        std::memset(tail, 0, plan.tail_bytes);
        writes.emplace_back().what = edge_write(plan.tail_block, tail, kind);
    }
    // Few entries whatever the length, so all of it is atomic.
    for (size_t i = 0; i + 1 < writes.size(); ++i) writes[i].joined = true;
    co_return co_await commit(writes, options.fua);
}

// Where each member's table is damaged somewhere on the way, the first page alone may do; and where
// that is damaged on all, repairing it.
Task<Result<blockdev::BlockRun>> Volume::run_at(uint64_t block, uint64_t blocks) {
    Result<blockdev::BlockRun> run = Error{Errc::io, 0, "no members"};
    for (int attempt = 0; attempt < 3; ++attempt) {
        for (size_t i = 0; i < members_.size(); ++i) {
            if (!members_.readable(i)) continue;
            run = co_await members_.member(i).run_at(block, blocks);
            if (run.ok()) co_return run;
            healer_.suspect(i, block);  // Another one answers; this one is looked at meanwhile.
        }
        blocks = std::min(blocks, blockdev::kPageBlocks - block % blockdev::kPageBlocks);
        if (attempt == 1) {
            static_cast<void>(co_await healer_.repair_tables(block / blockdev::kPageBlocks));
        }
    }
    co_return run;
}

Task<Result<std::vector<Extent>>> Volume::extents(uint64_t offset, uint64_t length, size_t limit) {
    const Status range = check_range(offset, length);
    if (!range.ok()) co_return range.error();
    std::vector<Extent> found;
    const uint64_t end = offset + length;
    for (uint64_t at = offset; at < end;) {
        const uint64_t block = at / kBlockSize;
        const uint64_t blocks = std::min(divide_up(end, kBlockSize) - block, kExtentBlocks);
        // What is not committed yet, and might never be, is not told.
        RangeLock::Hold hold(locks_, block, block + blocks, RangeLock::Mode::shared);
        co_await hold;
        if (stopped_) co_return check_range(offset, length).error();
        const Result<blockdev::BlockRun> run = co_await run_at(block, blocks);
        if (!run.ok()) co_return run.error();
        const uint64_t run_end = std::min(end, (block + run.value().count) * kBlockSize);
        if (!found.empty() && found.back().zero == run.value().zero) {
            found.back().length += run_end - at;
        } else if (found.size() == limit) {
            break;
        } else {
            found.push_back({run_end - at, run.value().zero, run.value().zero});
        }
        at = run_end;
    }
    co_return found;
}

// --- The rest

Task<Status> Volume::drain(uint64_t deadline_ns) { co_return co_await pacer_.drain(deadline_ns); }

}  // namespace gemel::mirror
