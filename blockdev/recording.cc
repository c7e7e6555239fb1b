// SPDX-License-Identifier: Apache-2.0
#include "blockdev/recording.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/layout.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kCopySize = 4 * kMiB;
// What is written or left out as a whole: small enough to stay sparse, large enough for few
// extents.
constexpr uint64_t kPieceSize = 64 << 10;
static_assert(kCopySize % kPieceSize == 0 && kPieceSize % kBlockSize == 0);

uint64_t header_checksum(const RecordingHeader& header) {
    return ecc::hash64(bytes_of(header).subspan(sizeof(le64)));
}

Problem cannot(const std::string& path, const char* what, const Error& error) {
    return {error.code, path + ": " + what + ": " + error.text()};
}

// Null if there is no sound header.
Task<std::unique_ptr<RecordingHeader>> read_header(Disk& disk) {
    if (disk.size() < sizeof(RecordingHeader)) co_return nullptr;
    const AlignedBytes buffer = allocate_aligned(sizeof(RecordingHeader));
    const Status status = co_await disk.read(0, {buffer.get(), sizeof(RecordingHeader)});
    if (!status.ok()) co_return nullptr;
    auto header = std::make_unique<RecordingHeader>();
    std::memcpy(static_cast<void*>(header.get()), buffer.get(), sizeof(RecordingHeader));
    if (recording_fault(*header) != nullptr) co_return nullptr;
    co_return header;
}

Task<Status> write_header(Disk& disk, RecordingHeader& header, bool is_complete) {
    header.is_complete = is_complete ? 1 : 0;
    header.checksum = header_checksum(header);
    CHECK(recording_fault(header) == nullptr);
    const AlignedBytes buffer = allocate_aligned(sizeof(RecordingHeader));
    std::memcpy(buffer.get(), &header, sizeof(RecordingHeader));
    const Status written = co_await disk.write(0, {buffer.get(), sizeof(RecordingHeader)});
    if (!written.ok()) co_return written;
    co_return co_await disk.sync();
}

// Writes the pieces of `data` that hold anything.
Task<Result<uint64_t>> write_sparse(Disk& disk, uint64_t offset, std::span<const std::byte> data) {
    uint64_t bytes = 0;
    for (size_t at = 0; at < data.size(); at += kPieceSize) {
        const auto piece = data.subspan(at, std::min<size_t>(kPieceSize, data.size() - at));
        if (all_zero(piece)) continue;
        const Status status = co_await disk.write(offset + at, piece);
        if (!status.ok()) co_return status.error();
        bytes += piece.size();
    }
    co_return bytes;
}

struct Target {
    std::unique_ptr<Disk> disk;
    bool is_new = false;
};

// Opens the file to record into, if that harms nothing.
Task<Outcome<Target>> open_target(Env& env, std::string path, Uuid member) {
    Target target;
    Outcome<std::unique_ptr<Disk>> existing = env.open_disk(path, DiskOptions{});
    if (!existing.ok() && existing.error().code != Errc::not_found) co_return existing.error();
    target.is_new = !existing.ok();
    if (target.is_new) {
        Outcome<std::unique_ptr<Disk>> created = env.open_disk(path, DiskOptions{.create = true});
        if (!created.ok()) co_return created.error();
        target.disk = std::move(created).value();
        co_return target;
    }
    target.disk = std::move(existing).value();
    if (target.disk->traits().is_block_device) {
        co_return Problem{Errc::invalid, path + ": a recording needs a file, not a device"};
    }
    if (target.disk->size() == 0) co_return target;
    const std::unique_ptr<RecordingHeader> header = co_await read_header(*target.disk);
    if (!header) {
        co_return Problem{Errc::exists, path + ": is not a recording; give another file"};
    }
    if (header->member != member) {
        co_return Problem{Errc::exists, path + ": is a recording of another member (" +
                                            header->member.text() + "); give another file"};
    }
    co_return target;
}

Task<Outcome<RecordingSummary>> copy_member(Env& env, Disk& member, const Superblock& superblock,
                                            Disk& file) {
    const std::string path = file.traits().path;
    const Layout layout = layout_of(superblock);
    RecordingHeader header{};
    header.magic = kRecordingMagic;
    header.version = kRecordingVersion;
    header.member = superblock.member;
    header.volume = superblock.volume;
    header.length = round_down(std::min(layout.member_size(), member.size()), kBlockSize);
    header.recorded_s = env.wall_clock_s();
    for (const uint64_t size : {uint64_t{0}, sizeof header + header.length.get()}) {
        const Status sized = file.resize(size);  // To nothing first: what it held is gone.
        if (!sized.ok()) co_return cannot(path, "cannot be written", sized.error());
    }
    const Status begun = co_await write_header(file, header, false);
    if (!begun.ok()) co_return cannot(path, "cannot be written", begun.error());
    RecordingSummary summary{superblock.member, superblock.volume, header.length, 0};
    const AlignedBytes buffer = allocate_aligned(kCopySize);
    for (uint64_t at = 0; at < header.length; at += kCopySize) {
        const std::span<std::byte> part(buffer.get(), std::min(kCopySize, header.length - at));
        const Status read = co_await member.read(at, part);
        if (!read.ok()) co_return cannot(member.traits().path, "cannot be read", read.error());
        const Result<uint64_t> bytes = co_await write_sparse(file, sizeof header + at, part);
        if (!bytes.ok()) co_return cannot(path, "cannot be written", bytes.error());
        summary.bytes_written += bytes.value();
    }
    const Status synced = co_await file.sync();
    if (!synced.ok()) co_return cannot(path, "cannot be written", synced.error());
    const Status ended = co_await write_header(file, header, true);
    if (!ended.ok()) co_return cannot(path, "cannot be written", ended.error());
    co_return summary;
}

}  // namespace

const char* recording_fault(const RecordingHeader& header) {
    if (header.magic != kRecordingMagic) return "magic";
    if (header.checksum != header_checksum(header)) return "checksum";
    if (header.version != kRecordingVersion) return "version";
    if (header.is_complete > 1) return "completeness";
    if (header.member.is_nil() || header.volume.is_nil()) return "identity";
    if (header.length % kBlockSize != 0) return "length";
    if (!all_zero(std::as_bytes(std::span(header.reserved)))) return "reserved";
    return nullptr;
}

Task<Outcome<std::unique_ptr<Recording>>> Recording::open(Env& env, std::string path, Uuid member) {
    Outcome<std::unique_ptr<Disk>> opened = env.open_disk(path, DiskOptions{.read_only = true});
    if (!opened.ok()) co_return opened.error();
    std::unique_ptr<Disk> disk = std::move(opened).value();
    const std::unique_ptr<RecordingHeader> header = co_await read_header(*disk);
    if (!header) co_return Problem{Errc::invalid, path + ": is not a recording of a member"};
    if (header->member != member) {
        co_return Problem{Errc::invalid, path + ": is a recording of another member (" +
                                             header->member.text() + ")"};
    }
    if (header->is_complete != 1 || disk->size() < sizeof(RecordingHeader) + header->length) {
        co_return Problem{Errc::corrupt, path + ": the recording is not complete; record again"};
    }
    co_return std::unique_ptr<Recording>(new Recording(std::move(disk), header->length));
}

Task<Status> Recording::read(uint64_t offset, std::span<std::byte> out) {
    const uint64_t inside = offset < length_ ? std::min(out.size(), length_ - offset) : 0;
    std::fill(out.begin() + static_cast<ptrdiff_t>(inside), out.end(), std::byte{0});
    if (inside == 0) co_return Status::success();
    co_return co_await disk_->read(sizeof(RecordingHeader) + offset, out.first(inside));
}

Task<Outcome<RecordingSummary>> record_member(Env& env, std::string member_path, std::string path) {
    Outcome<std::unique_ptr<Disk>> opened =
        env.open_disk(member_path, DiskOptions{.read_only = true});
    if (!opened.ok()) co_return opened.error();
    Disk& member = *opened.value();
    const Outcome<SuperblockReading> reading = co_await read_superblocks(member);
    if (!reading.ok()) co_return reading.error();
    const Superblock& superblock = *reading.value().superblock;
    Outcome<Target> target = co_await open_target(env, path, superblock.member);
    if (!target.ok()) co_return target.error();
    Outcome<RecordingSummary> copied =
        co_await copy_member(env, member, superblock, *target.value().disk);
    if (!copied.ok() && target.value().is_new) {
        target.value().disk.reset();
        const Status removed = env.remove_file(path);
        if (!removed.ok()) env.log(LogLevel::warning, path + ": " + removed.error().text());
    }
    co_return copied;
}

}  // namespace gemel::blockdev
