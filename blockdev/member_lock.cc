// SPDX-License-Identifier: Apache-2.0
#include "blockdev/member_lock.h"

#include <cstring>

#include "blockdev/bytes.h"
#include "blockdev/disk_format.h"
#include "blockdev/layout.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kRetryInterval_ns = 5 * kMillisecond;

uint64_t owner_checksum(const OwnerRecord& record) {
    return ecc::hash64(bytes_of(record).subspan(sizeof(le64)), kOwnerOffset);
}

ProcessId process_of(const OwnerRecord& record) {
    ProcessId owner;
    owner.pid = record.pid;
    owner.start_time = record.start_time;
    owner.boot_id[0] = record.boot_id[0];
    owner.boot_id[1] = record.boot_id[1];
    return owner;
}

Problem in_use(const Disk& disk, const ProcessId& owner, bool owner_is_alive) {
    const std::string& path = disk.traits().path;
    if (owner_is_alive) {
        return {Errc::busy, path + ": in use by process " + std::to_string(owner.pid) +
                                "; stop it first (is the volume being served already?)"};
    }
    if (owner.pid == 0) {
        return {Errc::busy, path +
                                ": still locked after 10 s, by a process that has not written "
                                "down who it is; stop it first"};
    }
    return {Errc::timed_out, path +
                                 ": still locked after 10 s although its last owner is gone; "
                                 "its requests may hang in the device"};
}

}  // namespace

Task<std::unique_ptr<OwnerRecord>> read_owner(Disk& disk) {
    if (disk.size() < kOwnerOffset + sizeof(OwnerRecord)) co_return nullptr;
    AlignedBytes buffer = allocate_aligned(sizeof(OwnerRecord));
    const Status status = co_await disk.read(kOwnerOffset, {buffer.get(), sizeof(OwnerRecord)});
    if (!status.ok()) co_return nullptr;
    auto record = std::make_unique<OwnerRecord>();
    std::memcpy(static_cast<void*>(record.get()), buffer.get(), sizeof(OwnerRecord));
    if (record->magic != kOwnerMagic || record->checksum != owner_checksum(*record)) {
        co_return nullptr;
    }
    co_return record;
}

Task<Outcome<bool>> lock_member(Env& env, Disk& disk) {
    const uint64_t start = env.now_ns();
    while (true) {
        const Status locked = disk.try_lock();
        if (locked.ok()) co_return true;
        if (locked.error().code != Errc::busy) {
            co_return Problem{locked.error().code,
                              disk.traits().path + ": cannot be locked: " + locked.error().text()};
        }
        const std::unique_ptr<OwnerRecord> record = co_await read_owner(disk);
        const ProcessId owner = record ? process_of(*record) : ProcessId{};
        const bool alive = owner.pid != 0 && env.is_alive(owner);
        const uint64_t waited = env.now_ns() - start;
        if (waited >= (alive ? kLiveOwnerPatience_ns : kLockPatience_ns)) {
            co_return in_use(disk, owner, alive);
        }
        co_await sleep_for(env, kRetryInterval_ns);
    }
}

Task<Status> write_owner(Env& env, Disk& disk, const Superblock& superblock, bool open) {
    AlignedBytes buffer = allocate_zeroed(sizeof(OwnerRecord));
    auto& record = *reinterpret_cast<OwnerRecord*>(buffer.get());
    const ProcessId self = env.this_process();
    record.magic = kOwnerMagic;
    record.version = kFormatVersion;
    record.member = superblock.member;
    record.superblock_b_offset = superblock.geometry.superblock_b_offset;
    record.pid = open ? self.pid : 0;
    record.start_time = self.start_time;
    record.boot_id[0] = self.boot_id[0];
    record.boot_id[1] = self.boot_id[1];
    record.checksum = owner_checksum(record);
    co_return co_await disk.write(kOwnerOffset, {buffer.get(), sizeof(OwnerRecord)});
}

bool is_own_record(const Env& env, const OwnerRecord& record, const Superblock& superblock) {
    return process_of(record) == env.this_process() && record.member == superblock.member &&
           record.superblock_b_offset == superblock.geometry.superblock_b_offset;
}

}  // namespace gemel::blockdev
