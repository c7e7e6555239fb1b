// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_disk.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "blockdev/bytes.h"
#include "blockdev/uring_file_system.h"

namespace gemel {

namespace {

constexpr size_t kZeroBufferSize = 1 << 20;
constexpr uint64_t kPlentyOfSpace = 64ull << 20;
// What is_blank reads of a device: much at both ends, where labels lie, and a little in between, as
// often as a slow disk can seek within a second.
constexpr uint64_t kProbeSize = 1 << 20;
constexpr uint64_t kSampleSize = 64 << 10;
constexpr uint64_t kSamples = 64;
// The kernel transfers at most this much at once (MAX_RW_COUNT, rounded down).
constexpr uint64_t kMaximumTransfer = 1u << 30;

static_assert(sizeof(IoSegment) == sizeof(iovec));
static_assert(offsetof(IoSegment, data) == offsetof(iovec, iov_base));
static_assert(offsetof(IoSegment, length) == offsetof(iovec, iov_len));

std::byte* zero_buffer() {
    static const AlignedBytes zeros = allocate_zeroed(kZeroBufferSize);
    return zeros.get();
}

Problem open_problem(const std::string& path, int error, DiskOptions options) {
    const Errc code = error_from_errno(error, "open").code;
    switch (error) {
        case ENOENT:
            return {code, options.create ? path + ": its folder does not exist; create it first"
                                         : path + ": no such file or device; check the path"};
        case EISDIR: return {code, path + ": is a directory; give a file or a block device"};
        case EROFS: return {code, path + ": the file system is read-only; remount it writable"};
        case EBUSY:
            return {Errc::busy,
                    path + ": the device is in use (mounted, or held by another program)"};
        case EACCES:
        case EPERM: return {code, path + ": permission denied; check its owner and mode"};
        default: return {code, path + ": cannot be opened: " + std::strerror(error)};
    }
}

}  // namespace

struct UringDisk::InFlight : UringCompletion {
    UringDisk* disk = nullptr;
    IoRequest* request = nullptr;
    // Bytes done. Above them: how often a lack of space was not believed, and whether clearing
    // falls back to writing zeros.
    uint64_t progress = 0;

    static constexpr uint64_t kWriteZeros = 1ull << 63;
    static constexpr uint64_t kOneRetry = 1ull << 56;
    static constexpr uint64_t kMaximumRetries = 16;
    uint64_t bytes_done() const { return progress % kOneRetry; }
    uint64_t retries() const { return (progress & ~kWriteZeros) / kOneRetry; }
    bool writes_zeros() const { return (progress & kWriteZeros) != 0; }
};

// Where the file system copies on write (btrfs) an overwrite takes new space, and so can fail for
// want of it: an empty file can be told to stay where it is. Others do not know the request.
void keep_in_place(int descriptor) {
    int flags = 0;
    if (ioctl(descriptor, FS_IOC_GETFLAGS, &flags) != 0) return;
    flags |= FS_NOCOW_FL;
    static_cast<void>(ioctl(descriptor, FS_IOC_SETFLAGS, &flags));
}

// Without an answer it may hang.
bool UringDisk::lies_where_it_may_hang() const {
    if (traits_.is_block_device) return false;
    struct statfs info{};
    return fstatfs(descriptor_, &info) != 0 ||
           file_system_may_hang(static_cast<uint64_t>(info.f_type));
}

Outcome<std::unique_ptr<Disk>> UringDisk::open(UringEnv& env, const std::string& path,
                                               DiskOptions options) {
    Outcome<std::unique_ptr<UringDisk>> disk = open_file(env, path, options);
    if (!disk.ok()) return disk.error();
    if (disk.value()->lies_where_it_may_hang()) disk.value()->expect_hanging();
    return std::unique_ptr<Disk>(std::move(disk).value());
}

Outcome<std::unique_ptr<Disk>> UringDisk::open_as_hanging(UringEnv& env, const std::string& path,
                                                          DiskOptions options) {
    Outcome<std::unique_ptr<UringDisk>> disk = open_file(env, path, options);
    if (!disk.ok()) return disk.error();
    disk.value()->expect_hanging();
    return std::unique_ptr<Disk>(std::move(disk).value());
}

Outcome<std::unique_ptr<UringDisk>> UringDisk::open_file(UringEnv& env, const std::string& path,
                                                         DiskOptions options) {
    DiskTraits traits{.path = path, .direct = true, .read_only = options.read_only};
    struct stat info{};
    if (stat(path.c_str(), &info) == 0) {
        if (S_ISDIR(info.st_mode)) return open_problem(path, EISDIR, options);
        if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
            return Problem{Errc::invalid, path + ": is neither a file nor a block device"};
        }
        traits.is_block_device = S_ISBLK(info.st_mode);
    }
    int flags = (options.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
    const bool exclusive = !options.read_only && !options.beside_owner;
    if (traits.is_block_device && exclusive) flags |= O_EXCL;
    if (options.create && !traits.is_block_device) flags |= O_CREAT;
    int descriptor = ::open(path.c_str(), flags | O_DIRECT, 0644);
    if (descriptor < 0 && errno == EINVAL) {
        traits.direct = false;
        descriptor = ::open(path.c_str(), flags, 0644);
        if (descriptor >= 0) {
            env.log(LogLevel::warning,
                    path + ": the file system refuses direct I/O; the page cache is used");
        }
    }
    if (descriptor < 0) return open_problem(path, errno, options);
    uint64_t size = 0;
    if (traits.is_block_device) {
        if (ioctl(descriptor, BLKGETSIZE64, &size) != 0) size = 0;
    } else if (fstat(descriptor, &info) == 0) {
        size = static_cast<uint64_t>(info.st_size);
        traits.file_system = info.st_dev;
        if (size == 0 && !options.read_only) keep_in_place(descriptor);
    }
    return std::unique_ptr<UringDisk>(new UringDisk(env, descriptor, std::move(traits), size));
}

void UringDisk::expect_hanging() {
    probe_ = std::make_unique<UringSpaceProbe>(descriptor_, free_space(descriptor_));
    env_.change_workers(static_cast<int>(kHangingMax));
}

UringDisk::~UringDisk() {
    if (!probe_) close(descriptor_);
    if (probe_) env_.change_workers(-static_cast<int>(kHangingMax));
}

void UringDisk::submit(IoRequest& request) {
    static_assert(sizeof(InFlight) <= sizeof(IoRequest::private_to_disk));
    auto* flight = new (request.private_to_disk) InFlight;
    flight->disk = this;
    flight->request = &request;
    flight->complete = [](UringCompletion& self, int32_t result, uint32_t) {
        auto& in_flight = static_cast<InFlight&>(self);
        in_flight.disk->advance(in_flight, result);
    };
    request.status = Status::success();
    if (probe_ && in_kernel_ == kHangingMax) {
        waiting_.push_back(flight);
        return;
    }
    ++in_kernel_;
    prepare(*flight);
}

void UringDisk::prepare(InFlight& flight) {
    io_uring_sqe* sqe = env_.get_sqe(flight);
    switch (flight.request->kind) {
        case IoKind::read:
        case IoKind::write: prepare_transfer(flight, sqe); break;
        case IoKind::sync: io_uring_prep_fsync(sqe, descriptor_, IORING_FSYNC_DATASYNC); break;
        case IoKind::punch:
        case IoKind::zero: prepare_clear(flight, sqe); break;
    }
    if (probe_) sqe->flags |= IOSQE_ASYNC;
}

// The whole vector in one piece at first; what a short transfer left over, segment by segment.
void UringDisk::prepare_transfer(InFlight& flight, io_uring_sqe* sqe) {
    const IoRequest& request = *flight.request;
    const bool reading = request.kind == IoKind::read;
    const uint64_t done = flight.bytes_done();
    if (done == 0 && request.segment_count > 1) {
        const auto* vector = reinterpret_cast<const iovec*>(request.segments);
        if (reading) {
            io_uring_prep_readv(sqe, descriptor_, vector, request.segment_count, request.offset);
        } else {
            io_uring_prep_writev(sqe, descriptor_, vector, request.segment_count, request.offset);
        }
        return;
    }
    const IoSegment* segment = request.segments;
    uint64_t skip = done;
    while (skip >= segment->length) skip -= (segment++)->length;
    std::byte* data = segment->data + skip;
    const auto length =
        static_cast<unsigned>(std::min<uint64_t>(segment->length - skip, kMaximumTransfer));
    if (reading) {
        io_uring_prep_read(sqe, descriptor_, data, length, request.offset + done);
    } else {
        io_uring_prep_write(sqe, descriptor_, data, length, request.offset + done);
    }
}

void UringDisk::prepare_clear(InFlight& flight, io_uring_sqe* sqe) {
    const IoRequest& request = *flight.request;
    const uint64_t done = flight.bytes_done();
    if (flight.writes_zeros()) {
        const uint64_t length = std::min<uint64_t>(request.length - done, kZeroBufferSize);
        io_uring_prep_write(sqe, descriptor_, zero_buffer(), static_cast<unsigned>(length),
                            request.offset + done);
        return;
    }
    // On a block device both end in zeros that are really there, or in EOPNOTSUPP: never in a plain
    // discard, whose later reads are undefined.
    const int mode = FALLOC_FL_KEEP_SIZE |
                     (request.kind == IoKind::punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    io_uring_prep_fallocate(sqe, descriptor_, mode, static_cast<off_t>(request.offset),
                            static_cast<off_t>(request.length));
}

void UringDisk::advance(InFlight& flight, int32_t result) {
    const IoRequest& request = *flight.request;
    const bool clears = request.kind == IoKind::punch || request.kind == IoKind::zero;
    if (result == -EINTR || result == -EAGAIN) return prepare(flight);
    if (clears && result == -EOPNOTSUPP && !flight.writes_zeros()) {
        flight.progress |= InFlight::kWriteZeros;
        return prepare(flight);
    }
    if (result == -ENOSPC && flight.retries() < InFlight::kMaximumRetries && has_space()) {
        flight.progress += InFlight::kOneRetry;
        return prepare(flight);
    }
    // Whatever the reason: what a failed flush dropped is lost, and not for want of space.
    if (result < 0 && request.kind == IoKind::sync) {
        sync_failed_ = true;
        return finish(flight, Error{Errc::io, -result, "sync"});
    }
    if (result < 0) {
        static constexpr const char* kNames[] = {"read", "write", "sync", "punch", "zero"};
        return finish(flight, error_from_errno(-result, kNames[static_cast<int>(request.kind)]));
    }
    if (request.kind == IoKind::sync && sync_failed_) {
        return finish(flight, Error{Errc::io, 0, "sync: one has failed before"});
    }
    if (request.kind == IoKind::sync || (clears && !flight.writes_zeros())) {
        return finish(flight, Status::success());
    }
    if (result == 0) {
        const bool reading = request.kind == IoKind::read;
        return finish(flight, reading ? Error{Errc::io, 0, "read beyond the end of the device"}
                                      : Error{Errc::no_space, 0, "write: nothing was taken"});
    }
    flight.progress += static_cast<uint64_t>(result);
    if (flight.bytes_done() < request.length) return prepare(flight);
    finish(flight, Status::success());
}

void UringDisk::finish(InFlight& flight, Status status) {
    IoRequest& request = *flight.request;
    request.status = status;
    env_.post(request.done);
    if (waiting_.empty()) {
        --in_kernel_;
        return;
    }
    InFlight& next = *waiting_.front();
    waiting_.pop_front();
    prepare(next);
}

// ext4 answers ENOSPC now and then when many writers allocate at once, with most of it free.
bool UringDisk::has_space() const {
    const Result<uint64_t> free = free_bytes();
    return free.ok() && free.value() >= kPlentyOfSpace;
}

Result<uint64_t> UringDisk::free_bytes() const {
    if (traits_.is_block_device) return UINT64_MAX;
    return probe_ ? probe_->free_bytes() : free_space(descriptor_);
}

Result<bool> UringDisk::is_blank() {
    if (!traits_.is_block_device) {
        const off_t data = lseek(descriptor_, 0, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return true;
        if (data < 0 && errno != EINVAL) return error_from_errno(errno, "seek");
        if (data < 0) return size_ == 0;
        return false;
    }
    const uint64_t ends = std::min(size_, kProbeSize);
    for (const uint64_t offset : {uint64_t{0}, size_ - ends}) {
        const Result<bool> zero = is_zero(offset, ends);
        if (!zero.ok() || !zero.value()) return zero;
    }
    if (size_ <= kSamples * kSampleSize) return is_zero(0, size_);
    for (uint64_t i = 1; i < kSamples; ++i) {
        const uint64_t offset = round_down(size_ / kSamples * i, kSampleSize);
        const Result<bool> zero = is_zero(offset, kSampleSize);
        if (!zero.ok() || !zero.value()) return zero;
    }
    return true;
}

Result<bool> UringDisk::is_zero(uint64_t offset, uint64_t length) {
    const AlignedBytes probe = allocate_aligned(kProbeSize);
    for (uint64_t done = 0; done < length; done += kProbeSize) {
        const uint64_t part = std::min(length - done, kProbeSize);
        const ssize_t n = pread(descriptor_, probe.get(), part, static_cast<off_t>(offset + done));
        if (n < 0) return error_from_errno(errno, "read");
        if (n != static_cast<ssize_t>(part)) return Error{Errc::io, 0, "read: cut short"};
        if (!all_zero({probe.get(), part})) return false;
    }
    return true;
}

Status UringDisk::resize(uint64_t size) {
    if (traits_.is_block_device) {
        if (size > size_) return Error{Errc::no_space, 0, "the device is too small"};
        return Status::success();
    }
    if (ftruncate(descriptor_, static_cast<off_t>(size)) != 0) {
        return error_from_errno(errno, "setting the size");
    }
    size_ = size;
    return Status::success();
}

Status UringDisk::try_lock() {
    if (flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return Status::success();
    if (errno == EWOULDBLOCK) return Error{Errc::busy, errno, "lock"};
    return error_from_errno(errno, "lock");
}

}  // namespace gemel
