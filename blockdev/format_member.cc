// SPDX-License-Identifier: Apache-2.0
#include "blockdev/format_member.h"

#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/member_lock.h"
#include "blockdev/superblock.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kFillSize = 4 * kMiB;
static_assert(kMinimumLogSize % kFillSize == 0);

// Zeros that are really written, so that later log writes never change the file's extents.
Task<Status> fill_with_zeros(Disk& disk, uint64_t offset, uint64_t length, const bool* cancelled) {
    AlignedBytes zeros = allocate_zeroed(kFillSize);
    for (uint64_t done = 0; done < length; done += kFillSize) {
        if (cancelled != nullptr && *cancelled) co_return Error{Errc::closed, 0, "cancelled"};
        const uint64_t part = std::min(kFillSize, length - done);
        const Status status = co_await disk.write(offset + done, {zeros.get(), part});
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

Problem not_blank(const std::string& path) {
    return {Errc::exists, path + ": is not empty; use --force to overwrite what is there"};
}

}  // namespace

Task<Outcome<NewMember>> open_new_member(Env& env, std::string path, bool force) {
    NewMember member;
    member.path = path;
    member.force = force;
    Outcome<std::unique_ptr<Disk>> existing = env.open_disk(path, DiskOptions{});
    member.existed = existing.ok();
    if (!existing.ok() && existing.error().code != Errc::not_found) co_return existing.error();
    if (existing.ok()) {
        member.disk = std::move(existing).value();
    } else {
        Outcome<std::unique_ptr<Disk>> created = env.open_disk(path, DiskOptions{.create = true});
        if (!created.ok()) co_return created.error();
        member.disk = std::move(created).value();
    }
    const Outcome<bool> locked = co_await lock_member(env, *member.disk);
    if (!locked.ok() && !member.existed) {
        member.disk.reset();
        const Status removed = env.remove_file(path);
        if (!removed.ok()) env.log(LogLevel::warning, path + ": " + removed.error().text());
    }
    if (!locked.ok()) co_return locked.error();
    const Result<bool> blank = member.disk->is_blank();
    if (!blank.ok()) co_return Problem{blank.error().code, path + ": " + blank.error().text()};
    if (!blank.value() && !force) co_return not_blank(path);
    member.was_blank = blank.value();
    member.size_before = member.existed ? member.disk->size() : 0;
    co_return member;
}

Status abandon_member(Env& env, NewMember& member) {
    Status status;
    if (member.existed && member.was_blank && !member.disk->traits().is_block_device) {
        status = member.disk->resize(0);
        if (status.ok()) status = member.disk->resize(member.size_before);
    }
    member.disk.reset();
    return member.existed ? status : env.remove_file(member.path);
}

uint64_t largest_volume(uint64_t device_size, uint64_t maximum_size, uint64_t log_size) {
    const Layout layout = make_layout(kBlockSize, maximum_size, log_size);
    if (device_size <= layout.home_offset) return 0;
    return round_down(device_size - layout.home_offset, kBlockSize);
}

Task<Status> prepare_member(Env&, Disk& disk, const Layout& layout, bool force,
                            const bool* cancelled) {
    const bool is_file = !disk.traits().is_block_device;
    if (is_file && force) {
        const Status emptied = disk.resize(0);
        if (!emptied.ok()) co_return emptied;
    }
    if (disk.size() < layout.member_size()) {
        const Status sized = disk.resize(layout.member_size());
        if (!sized.ok()) co_return sized;
    }
    // The old superblock goes first: a crash from here on leaves no half-right member.
    Status status = co_await fill_with_zeros(disk, 0, kLogOffset + layout.log_size, cancelled);
    if (status.ok() && layout.preallocated) {
        status =
            co_await disk.zero(layout.root_offset, layout.superblock_b_offset - layout.root_offset);
    }
    if (status.ok() && layout.preallocated) {
        status = co_await disk.zero(layout.home_offset, layout.volume_size);
    } else if (status.ok() && !is_file) {
        // Home is a plain image: what was never written must read as zeros there too.
        status = co_await disk.punch(layout.home_offset, layout.volume_size);
    }
    co_return status;
}

Task<Status> finish_member(Env& env, Disk& disk, const Layout& layout,
                           const MemberIdentity& identity,
                           const ConfigurationRecord& configuration) {
    std::unique_ptr<Superblock> superblock = make_superblock_buffer();
    superblock->magic = kSuperblockMagic;
    superblock->version = kFormatVersion;
    superblock->minimum_reader = kMinimumReader;
    superblock->member = identity.member;
    superblock->volume = identity.volume;
    CHECK(identity.name.size() < sizeof superblock->name);
    std::memcpy(superblock->name, identity.name.data(), identity.name.size());
    superblock->created_s = identity.created_s;
    superblock->geometry = to_record(layout);
    superblock->secret = identity.secret;
    const EpochRecord& epoch = configuration.epoch;
    superblock->tail.ring_offset = 0;
    superblock->tail.sequence = epoch.first_sequence;
    superblock->tail.previous_hash = chain_start(epoch.id, epoch.previous_hash);
    CHECK(configuration.volume_size == layout.volume_size);
    superblock->configuration = configuration;
    superblock->epoch_count = 1;
    superblock->epochs[0] = epoch;
    superblock->root_count = static_cast<uint32_t>(layout.root_pages());
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        const ConfiguredMember& listed = configuration.members[i];
        if (listed.uuid != identity.member) continue;
        if (listed.state == static_cast<uint32_t>(ConfiguredState::in_sync)) continue;
        superblock->resync.state = static_cast<uint32_t>(ResyncState::running);
    }
    const Status owned = co_await write_owner(env, disk, *superblock, false);
    if (!owned.ok()) co_return owned;
    SuperblockStore store(disk, std::move(superblock));
    co_return co_await store.write_both();
}

}  // namespace gemel::blockdev
