// SPDX-License-Identifier: Apache-2.0
#include "blockdev/superblock.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/bytes.h"
#include "blockdev/member_lock.h"

namespace gemel::blockdev {

namespace {

uint64_t superblock_checksum(const Superblock& superblock, uint64_t offset) {
    return ecc::hash64(bytes_of(superblock).subspan(sizeof(le64)), offset);
}

}  // namespace

std::unique_ptr<Superblock> make_superblock_buffer() {
    auto superblock = std::make_unique<Superblock>();
    std::memset(static_cast<void*>(superblock.get()), 0, sizeof(Superblock));
    return superblock;
}

bool has_superblock_magic(const Superblock& superblock) {
    return superblock.magic == kSuperblockMagic;
}

bool is_superblock_of_newer_format(const Superblock& superblock) {
    return has_superblock_magic(superblock) && superblock.minimum_reader > kFormatVersion;
}

const char* configuration_fault(const ConfigurationRecord& configuration) {
    const uint32_t count = configuration.member_count;
    if (count == 0 || count > kMaximumMembers) return "member count";
    if (configuration.mode != static_cast<uint32_t>(ConsistencyMode::sync)) {
        return "consistency mode";
    }
    if (configuration.volume_size == 0 || configuration.volume_size % kBlockSize != 0) {
        return "volume size";
    }
    if (configuration.epoch.number == 0 || configuration.epoch.id.is_nil() ||
        configuration.epoch.first_sequence == 0) {
        return "epoch";
    }
    uint32_t in_sync = 0;
    for (uint32_t i = 0; i < count; ++i) {
        const ConfiguredMember& member = configuration.members[i];
        if (member.uuid.is_nil() || member.role > static_cast<uint16_t>(MemberRole::spare) ||
            member.state > static_cast<uint32_t>(ConfiguredState::spare)) {
            return "configured member";
        }
        if (member.replaces > count || member.replaces == i + 1) return "replaced member";
        in_sync += member.state == static_cast<uint32_t>(ConfiguredState::in_sync) ? 1 : 0;
        for (uint32_t j = 0; j < i; ++j) {
            if (configuration.members[j].uuid == member.uuid) return "member listed twice";
        }
    }
    if (in_sync == 0) return "no member in sync";
    return nullptr;
}

namespace {

const char* resync_fault(const ResyncRecord& resync, uint64_t pages) {
    if (resync.reserved != 0 || resync.state > static_cast<uint32_t>(ResyncState::running)) {
        return "resync state";
    }
    if (!is_running(resync)) { return all_zero(bytes_of(resync)) ? nullptr : "resync record"; }
    if (resync.base_sequence > kMaximumSequence) return "resync base";
    if (resync.covered_sequence > kMaximumSequence) return "resync coverage";
    if (resync.cursor_page > pages) return "resync cursor";
    const bool in_order = resync.window_begin <= resync.window_end && resync.window_end <= pages;
    return in_order ? nullptr : "resync window";
}

}  // namespace

bool are_alike(const Superblock& a, const Superblock& b) {
    Superblock copy = b;
    copy.checksum = a.checksum;
    copy.generation = a.generation;
    return std::memcmp(&copy, &a, sizeof copy) == 0;
}

const char* superblock_fault(const Superblock& superblock, uint64_t offset) {
    if (!has_superblock_magic(superblock)) return "magic";
    if (is_superblock_of_newer_format(superblock)) return "newer format";
    if (superblock.checksum != superblock_checksum(superblock, offset)) return "checksum";
    if (superblock.version == 0 || superblock.member.is_nil() || superblock.volume.is_nil()) {
        return "identity";
    }
    if (superblock.name[0] == 0 ||
        std::memchr(superblock.name, 0, sizeof superblock.name) == nullptr) {
        return "name";
    }
    if (const char* fault = geometry_fault(superblock.geometry); fault != nullptr) return fault;
    if (const char* fault = configuration_fault(superblock.configuration); fault != nullptr) {
        return fault;
    }
    const uint64_t log_size = superblock.geometry.log_size;
    if (superblock.tail.ring_offset > log_size || superblock.tail.ring_offset % kBlockSize != 0 ||
        superblock.tail.sequence == 0 || superblock.tail.sequence > kMaximumSequence) {
        return "log tail";
    }
    if (superblock.epoch_count == 0 || superblock.epoch_count > kEpochHistory) {
        return "epoch history";
    }
    if (superblock.configuration.volume_size > superblock.geometry.maximum_size) {
        return "volume size";
    }
    const Layout layout = layout_of(superblock);
    if (superblock.root_count != layout.root_pages()) return "roots";
    return resync_fault(superblock.resync, layout.volume_pages());
}

void seal_superblock(Superblock& superblock, uint64_t offset) {
    superblock.checksum = superblock_checksum(superblock, offset);
    CHECK(superblock_fault(superblock, offset) == nullptr);
}

Layout layout_of(const Superblock& superblock) {
    return from_record(superblock.geometry, superblock.configuration.volume_size);
}

std::string volume_name(const Superblock& superblock) {
    const auto* end =
        static_cast<const char*>(std::memchr(superblock.name, 0, sizeof superblock.name));
    return {superblock.name,
            end != nullptr ? static_cast<size_t>(end - superblock.name) : sizeof superblock.name};
}

namespace {

struct CopyReading {
    std::unique_ptr<Superblock> superblock;
    const char* fault = nullptr;
};

Task<CopyReading> read_copy(Disk& disk, uint64_t offset) {
    CopyReading reading;
    reading.superblock = make_superblock_buffer();
    if (offset % kBlockSize != 0 || disk.size() < kSuperblockSize ||
        offset > disk.size() - kSuperblockSize) {
        reading.fault = "beyond the end of the member";
        co_return reading;
    }
    AlignedBytes buffer = allocate_aligned(kSuperblockSize);
    const Status status = co_await disk.read(offset, {buffer.get(), kSuperblockSize});
    if (!status.ok()) {
        reading.fault = "cannot be read";
        co_return reading;
    }
    std::memcpy(static_cast<void*>(reading.superblock.get()), buffer.get(), kSuperblockSize);
    reading.fault = superblock_fault(*reading.superblock, offset);
    co_return reading;
}

Problem no_superblock(const Disk& disk, const Superblock& a, const char* fault_a) {
    const std::string& path = disk.traits().path;
    if (disk.size() < kLogOffset + kMinimumLogSize) {
        return {Errc::invalid, path + ": too small to be a Gemel member (" +
                                   std::to_string(disk.size()) + " bytes); check the path"};
    }
    if (is_superblock_of_newer_format(a)) {
        return {Errc::unsupported, path + ": its format needs Gemel format " +
                                       std::to_string(a.minimum_reader) +
                                       "; this program reads up to " +
                                       std::to_string(kFormatVersion) + ": upgrade Gemel"};
    }
    if (!has_superblock_magic(a)) {
        return {Errc::invalid, path + ": not a Gemel member (no superblock); check the path"};
    }
    return {Errc::corrupt, path + ": both superblocks are damaged (A: " + fault_a +
                               "); the member can only be made anew from the others"};
}

}  // namespace

Task<Outcome<SuperblockReading>> read_superblocks(Disk& disk, uint64_t offset_b) {
    CopyReading a = co_await read_copy(disk, 0);
    CopyReading b;
    if (a.fault == nullptr) {
        b = co_await read_copy(disk, a.superblock->geometry.superblock_b_offset);
    } else {
        // Also of a newer format, it seems: a bit may have changed just there, and then B is not.
        const std::unique_ptr<OwnerRecord> owner = co_await read_owner(disk);
        if (owner) offset_b = owner->superblock_b_offset;
        b.fault = "its place is unknown";
        if (offset_b != 0) b = co_await read_copy(disk, offset_b);
    }
    if (a.fault != nullptr && b.fault != nullptr) {
        co_return no_superblock(disk, *a.superblock, a.fault);
    }
    SuperblockReading reading;
    reading.fault_a = a.fault;
    reading.fault_b = b.fault;
    const bool valid = a.fault == nullptr && b.fault == nullptr;
    reading.alike = valid && are_alike(*a.superblock, *b.superblock);
    const uint64_t apart = a.superblock->generation - b.superblock->generation;
    reading.lost_one = valid && apart != 1 && apart != UINT64_MAX;
    const bool take_b = a.fault != nullptr ||
                        (b.fault == nullptr && b.superblock->generation > a.superblock->generation);
    reading.superblock = std::move(take_b ? b.superblock : a.superblock);
    co_return reading;
}

SuperblockStore::SuperblockStore(Disk& disk, std::unique_ptr<Superblock> current)
    : disk_(disk), current_(std::move(current)), next_(std::make_unique<Superblock>(*current_)) {}

// Even generations lie in copy A, odd ones in copy B, so the next one never replaces the newest.
uint64_t SuperblockStore::offset_of_next() const {
    return (current_->generation + 1) % 2 == 0 ? 0 : current_->geometry.superblock_b_offset.get();
}

Task<Status> SuperblockStore::write_one() {
    const uint64_t offset = offset_of_next();
    next_->generation = current_->generation + 1;
    seal_superblock(*next_, offset);
    AlignedBytes buffer = allocate_aligned(kSuperblockSize);
    std::memcpy(buffer.get(), next_.get(), kSuperblockSize);
    const Status written = co_await disk_.write(offset, {buffer.get(), kSuperblockSize});
    if (!written.ok()) co_return written;
    const Status flushed = co_await disk_.sync();
    if (!flushed.ok()) co_return flushed;
    std::memcpy(static_cast<void*>(current_.get()), buffer.get(), kSuperblockSize);
    co_return Status::success();
}

Task<Status> SuperblockStore::write_both() {
    const Status first = co_await write_one();
    if (!first.ok()) co_return first;
    co_return co_await write_one();
}

}  // namespace gemel::blockdev
