// SPDX-License-Identifier: Apache-2.0
#include "blockdev/inspect.h"

#include "blockdev/checksum_table.h"
#include "blockdev/log_reader.h"
#include "blockdev/member_lock.h"
#include "blockdev/superblock.h"

namespace gemel::blockdev {

namespace {

constexpr size_t kCacheBytes = 1 << 20;

Task<Status> walk_log(Disk& disk, MemberInspection& out) {
    const Superblock& superblock = *out.superblock;
    BufferPool pool(0);
    const ecc::BlockHasher hasher(superblock.secret);
    LogReader reader(disk, out.layout, superblock.volume, hasher, pool);
    ChainLink link;
    link.epoch_id = superblock.configuration.epoch.id;
    link.sequence = superblock.tail.sequence;
    link.previous_hash = superblock.tail.previous_hash;
    uint64_t head = superblock.tail.ring_offset;
    while (true) {
        const Result<LogReader::Found> found = co_await reader.next(head, link);
        if (!found.ok()) co_return found.error();
        const BatchRef& batch = found.value().batch;
        if (!batch) break;
        ++out.log_batches;
        out.log_writes += batch->header().entries;
        out.log_payload_blocks += batch->header().payload_blocks;
        out.log_bytes += batch->size();
        out.log_stable_point = batch->header().stable_point;
        head = found.value().offset + batch->size();
        link.sequence = batch->last_sequence() + 1;
        link.previous_hash = batch->hash();
    }
    out.log_last_sequence = link.sequence - 1;
    co_return Status::success();
}

Task<void> walk_index(Env& env, Disk& disk, MemberInspection& out) {
    const Superblock& superblock = *out.superblock;
    ChecksumTable table(env, disk, out.layout, superblock.member, kCacheBytes);
    table.load_roots({superblock.roots, superblock.root_count});
    for (uint64_t page = 0; page < out.layout.volume_pages(); ++page) {
        const Result<PageName> name = co_await table.page_name(page);
        if (!name.ok()) {
            ++out.pages_unreadable;
            continue;
        }
        switch (name.value().state) {
            case PageState::never_written: ++out.pages_never_written; break;
            case PageState::zero: ++out.pages_zero; break;
            case PageState::data: ++out.pages_data; break;
        }
    }
}

}  // namespace

Task<Result<uint64_t>> last_logged(Disk& disk, const Superblock& superblock) {
    MemberInspection found;
    found.superblock = make_superblock_buffer();
    *found.superblock = superblock;
    found.layout = layout_of(superblock);
    const Status walked = co_await walk_log(disk, found);
    if (!walked.ok()) co_return walked.error();
    co_return found.log_last_sequence;
}

Task<Outcome<MemberInspection>> inspect_member(Env& env, std::string path) {
    Outcome<std::unique_ptr<Disk>> opened = env.open_disk(path, DiskOptions{.read_only = true});
    if (!opened.ok()) co_return opened.error();
    Disk& disk = *opened.value();
    Outcome<SuperblockReading> reading = co_await read_superblocks(disk);
    if (!reading.ok()) co_return reading.error();
    MemberInspection out;
    out.path = path;
    out.size = disk.size();
    out.is_block_device = disk.traits().is_block_device;
    out.superblock = std::move(reading.value().superblock);
    out.superblock_a_fault = reading.value().fault_a;
    out.superblock_b_fault = reading.value().fault_b;
    out.layout = layout_of(*out.superblock);
    if (const std::unique_ptr<OwnerRecord> owner = co_await read_owner(disk)) {
        out.owner_pid = owner->pid;
        const ProcessId process{
            owner->pid, owner->start_time, {owner->boot_id[0], owner->boot_id[1]}};
        out.owner_is_alive = owner->pid != 0 && env.is_alive(process);
    }
    const Status log = co_await walk_log(disk, out);
    if (!log.ok()) {
        co_return Problem{log.error().code,
                          path + ": the log cannot be read: " + log.error().text()};
    }
    co_await walk_index(env, disk, out);
    out.health = co_await read_health(disk, out.superblock->member);
    const bool is_mixed = is_running(out.superblock->resync);
    out.home_is_complete = out.log_batches == 0 && out.owner_pid == 0 && !is_mixed;
    co_return out;
}

}  // namespace gemel::blockdev
