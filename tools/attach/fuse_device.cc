// SPDX-License-Identifier: Apache-2.0
#define FUSE_USE_VERSION 34
#include "tools/attach/fuse_device.h"

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "blockdev/assert.h"

namespace gemel::tools {
namespace {

constexpr fuse_ino_t kFileInode = 2;
// What the kernel demands of a buffer beyond the largest write: room for the headers.
constexpr size_t kReceiveBufferBytes = kFuseRequestBytesMax + 4096;
constexpr int kRequestsPerTurn = 64;
// Attributes never change while mounted.
constexpr double kForeverSeconds = 1e9;

uint32_t request_bytes_max(const NbdExport& exported) {
    return std::min(kFuseRequestBytesMax, exported.payload_maximum / 4096 * 4096);
}

}  // namespace

struct FuseDevice::Impl {
    // One request of the kernel on its way through the server.
    class Request final : public NbdRequest {
    public:
        void done(int error, std::span<const std::byte> data) override;

        Impl* impl = nullptr;
        fuse_req_t kernel = nullptr;
        std::byte* small = nullptr;  // kSmallWriteBytesMax bytes.
        std::byte* large = nullptr;  // A receive buffer lent to this request.
    };

    Impl(const NbdExport& exported_as, NbdSession& with, DaemonLog& to);

    void start(fuse_req_t kernel, uint16_t command, uint16_t flags, uint64_t offset,
               uint32_t length, const char* payload);
    bool fits(uint64_t offset, uint64_t length) const;
    struct stat attributes(fuse_ino_t inode) const;

    // The file system's calls, as libfuse wants them.
    static Impl& of(fuse_req_t request) { return *static_cast<Impl*>(fuse_req_userdata(request)); }
    static void init(void* self, fuse_conn_info* connection);
    static void lookup(fuse_req_t request, fuse_ino_t parent, const char* name);
    static void getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file);
    static void statfs(fuse_req_t request, fuse_ino_t inode);
    static void open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file);
    static void release(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file);
    static void read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                     fuse_file_info* file);
    static void write(fuse_req_t request, fuse_ino_t inode, const char* data, size_t size,
                      off_t offset, fuse_file_info* file);
    static void fsync(fuse_req_t request, fuse_ino_t inode, int data_only, fuse_file_info* file);
    static void fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset,
                          off_t length, fuse_file_info* file);

    const NbdExport exported;
    NbdSession& session;
    DaemonLog& log;
    const uint32_t bytes_max;

    AlignedBytes small_memory;
    AlignedBytes buffer_memory;
    std::array<Request, kFuseRequestsMax> requests;
    std::vector<Request*> free_requests;
    std::vector<std::byte*> free_buffers;  // The last one is received into.
    bool buffer_lent = false;              // That one became a request's during its processing.

    fuse_session* fuse = nullptr;
    bool mounted = false;
    bool opened = false;
    int open_files = 0;
};

FuseDevice::Impl::Impl(const NbdExport& exported_as, NbdSession& with, DaemonLog& to)
    : exported(exported_as),
      session(with),
      log(to),
      bytes_max(request_bytes_max(exported_as)),
      small_memory(allocate_zeroed(size_t{kFuseRequestsMax} * kSmallWriteBytesMax)),
      buffer_memory(allocate_zeroed(kReceiveBuffers * kReceiveBufferBytes)) {
    for (size_t i = 0; i < requests.size(); ++i) {
        requests[i].impl = this;
        requests[i].small = small_memory.get() + i * kSmallWriteBytesMax;
        free_requests.push_back(&requests[i]);
    }
    for (size_t i = 0; i < kReceiveBuffers; ++i) {
        free_buffers.push_back(buffer_memory.get() + i * kReceiveBufferBytes);
    }
}

void FuseDevice::Impl::Request::done(int error, std::span<const std::byte> data) {
    if (error != 0) {
        fuse_reply_err(kernel, error);
    } else if (command == wire::kCommandRead) {
        fuse_reply_buf(kernel, reinterpret_cast<const char*>(data.data()), data.size());
    } else if (command == wire::kCommandWrite) {
        fuse_reply_write(kernel, length);
    } else {
        fuse_reply_err(kernel, 0);
    }
    // In front: the last one may be the one that is received into right now.
    if (large != nullptr) impl->free_buffers.insert(impl->free_buffers.begin(), large);
    large = nullptr;
    impl->free_requests.push_back(this);
}

bool FuseDevice::Impl::fits(uint64_t offset, uint64_t length) const {
    const std::optional<uint64_t> end = checked_add(offset, length);
    return end && *end <= exported.size;
}

void FuseDevice::Impl::start(fuse_req_t kernel, uint16_t command, uint16_t flags, uint64_t offset,
                             uint32_t length, const char* payload) {
    CHECK(!free_requests.empty());
    Request& request = *free_requests.back();
    free_requests.pop_back();
    request.kernel = kernel;
    request.command = command;
    request.flags = flags;
    request.offset = offset;
    request.length = length;
    request.payload = nullptr;
    if (payload != nullptr && length <= kSmallWriteBytesMax) {
        std::memcpy(request.small, payload, length);
        request.payload = request.small;
    } else if (payload != nullptr) {
        CHECK(!buffer_lent);
        buffer_lent = true;
        request.large = free_buffers.back();
        free_buffers.pop_back();
        request.payload = reinterpret_cast<const std::byte*>(payload);
    }
    session.submit(request);
}

struct stat FuseDevice::Impl::attributes(fuse_ino_t inode) const {
    struct stat info{};
    info.st_ino = inode;
    if (inode == FUSE_ROOT_ID) {
        info.st_mode = S_IFDIR | 0700;
        info.st_nlink = 2;
        return info;
    }
    info.st_mode = S_IFREG | (exported.read_only() ? 0400 : 0600);
    info.st_nlink = 1;
    info.st_size = static_cast<off_t>(exported.size);
    info.st_blocks = static_cast<blkcnt_t>(exported.size / 512);
    info.st_blksize = 4096;
    return info;
}

void FuseDevice::Impl::init(void* self, fuse_conn_info* connection) {
    const Impl& impl = *static_cast<Impl*>(self);
    connection->max_write = impl.bytes_max;
    connection->max_read = impl.bytes_max;
    // The default of 12 would serialise what the loop device sends at once.
    connection->max_background = kFuseRequestsMax;
    connection->congestion_threshold = kFuseRequestsMax * 3 / 4;
    connection->want |= connection->capable & FUSE_CAP_ASYNC_DIO;
    connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                                               FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
}

void FuseDevice::Impl::lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
    if (parent != FUSE_ROOT_ID || std::string_view(name) != kFuseFileName) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    fuse_entry_param entry{};
    entry.ino = kFileInode;
    entry.attr = of(request).attributes(kFileInode);
    entry.attr_timeout = kForeverSeconds;
    entry.entry_timeout = kForeverSeconds;
    fuse_reply_entry(request, &entry);
}

void FuseDevice::Impl::getattr(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    const struct stat info = of(request).attributes(inode);
    fuse_reply_attr(request, &info, kForeverSeconds);
}

void FuseDevice::Impl::statfs(fuse_req_t request, fuse_ino_t) {
    struct statvfs info{};
    // The loop device takes this for the granularity of discards: a block of the volume.
    info.f_bsize = 4096;
    info.f_frsize = 4096;
    info.f_namemax = 255;
    info.f_blocks = of(request).exported.size / 4096;
    fuse_reply_statfs(request, &info);
}

void FuseDevice::Impl::open(fuse_req_t request, fuse_ino_t inode, fuse_file_info* file) {
    Impl& impl = of(request);
    if (inode != kFileInode) {
        fuse_reply_err(request, EISDIR);
    } else if (impl.exported.read_only() && (file->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(request, EROFS);
    } else {
        // Nothing of the file ever lies in the page cache: the device above has one of its own.
        file->direct_io = 1;
        impl.opened = true;
        ++impl.open_files;
        fuse_reply_open(request, file);
    }
}

void FuseDevice::Impl::release(fuse_req_t request, fuse_ino_t, fuse_file_info*) {
    --of(request).open_files;
    fuse_reply_err(request, 0);
}

void FuseDevice::Impl::read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset,
                            fuse_file_info*) {
    Impl& impl = of(request);
    const uint64_t from = static_cast<uint64_t>(offset);
    const uint64_t left = from < impl.exported.size ? impl.exported.size - from : 0;
    const uint32_t length = static_cast<uint32_t>(std::min<uint64_t>(size, left));
    if (length == 0 || length > impl.bytes_max) {
        length == 0 ? fuse_reply_buf(request, nullptr, 0) : fuse_reply_err(request, EINVAL);
        return;
    }
    impl.start(request, wire::kCommandRead, 0, from, length, nullptr);
}

void FuseDevice::Impl::write(fuse_req_t request, fuse_ino_t, const char* data, size_t size,
                             off_t offset, fuse_file_info*) {
    Impl& impl = of(request);
    const uint64_t from = static_cast<uint64_t>(offset);
    if (!impl.fits(from, size)) {
        fuse_reply_err(request, ENOSPC);
    } else if (size == 0) {
        fuse_reply_write(request, 0);
    } else {
        impl.start(request, wire::kCommandWrite, 0, from, static_cast<uint32_t>(size), data);
    }
}

void FuseDevice::Impl::fsync(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
    Impl& impl = of(request);
    if (!impl.exported.can_flush()) {
        // Such a server has nothing that could be flushed.
        fuse_reply_err(request, 0);
        return;
    }
    impl.start(request, wire::kCommandFlush, 0, 0, 0, nullptr);
}

// Discards and zeroing of the loop device. Its users count on zeros after both, exactly in the
// range asked for; NBD's TRIM promises neither, so both are WRITE_ZEROES, with or without leave to
// give the space back.
void FuseDevice::Impl::fallocate(fuse_req_t request, fuse_ino_t, int mode, off_t offset,
                                 off_t length, fuse_file_info*) {
    Impl& impl = of(request);
    const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
    const bool punch = kind == FALLOC_FL_PUNCH_HOLE;
    const uint64_t from = static_cast<uint64_t>(offset);
    const uint64_t size = static_cast<uint64_t>(length);
    if (!impl.exported.can_write_zeroes() || (!punch && kind != FALLOC_FL_ZERO_RANGE)) {
        fuse_reply_err(request, EOPNOTSUPP);
    } else if (!impl.fits(from, size) || size == 0 || size > UINT32_MAX) {
        fuse_reply_err(request, EINVAL);
    } else {
        impl.start(request, wire::kCommandWriteZeroes, punch ? uint16_t{0} : wire::kFlagNoHole,
                   from, static_cast<uint32_t>(size), nullptr);
    }
}

FuseDevice::FuseDevice(const NbdExport& exported, NbdSession& session, DaemonLog& log)
    : impl_(std::make_unique<Impl>(exported, session, log)) {}

FuseDevice::~FuseDevice() {
    if (impl_->fuse != nullptr) fuse_session_destroy(impl_->fuse);
}

Outcome<void> FuseDevice::mount(const std::string& mount_point) {
    if (impl_->bytes_max == 0) {
        return Problem{Errc::unsupported, "the server takes requests of less than 4 KiB only"};
    }
    fuse_lowlevel_ops calls{};
    calls.init = Impl::init;
    calls.lookup = Impl::lookup;
    calls.getattr = Impl::getattr;
    calls.statfs = Impl::statfs;
    calls.open = Impl::open;
    calls.release = Impl::release;
    calls.read = Impl::read;
    calls.write = Impl::write;
    calls.fsync = Impl::fsync;
    calls.fallocate = Impl::fallocate;
    std::string program = "gemel";
    std::string dash_o = "-o";
    std::string options = "fsname=gemel,max_read=" + std::to_string(impl_->bytes_max);
    char* words[] = {program.data(), dash_o.data(), options.data()};
    fuse_args arguments = FUSE_ARGS_INIT(3, words);
    impl_->fuse = fuse_session_new(&arguments, &calls, sizeof calls, impl_.get());
    fuse_opt_free_args(&arguments);
    if (impl_->fuse == nullptr || fuse_session_mount(impl_->fuse, mount_point.c_str()) != 0) {
        return Problem{Errc::unsupported, "cannot mount FUSE at " + mount_point};
    }
    const int device = fuse_session_fd(impl_->fuse);
    if (fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK) != 0) {
        return Problem{Errc::io, std::string("cannot use /dev/fuse: ") + std::strerror(errno)};
    }
    return {};
}

int FuseDevice::descriptor() const { return fuse_session_fd(impl_->fuse); }

bool FuseDevice::ready() const {
    return !impl_->free_requests.empty() && !impl_->free_buffers.empty();
}

bool FuseDevice::abandoned() const { return impl_->opened && impl_->open_files == 0; }

bool FuseDevice::receive() {
    for (int turn = 0; turn < kRequestsPerTurn && ready(); ++turn) {
        std::byte* const buffer = impl_->free_buffers.back();
        const ssize_t n = ::read(descriptor(), buffer, kReceiveBufferBytes);
        if (n < 0) {
            // ENOENT: the request was interrupted before we got it.
            if (errno == EINTR || errno == ENOENT) continue;
            if (errno == EAGAIN) return true;
            if (errno != ENODEV) impl_->log.say(std::string("/dev/fuse: ") + std::strerror(errno));
            return false;
        }
        fuse_buf received{};
        received.size = static_cast<size_t>(n);
        received.mem = buffer;
        impl_->buffer_lent = false;
        fuse_session_process_buf(impl_->fuse, &received);
        if (fuse_session_exited(impl_->fuse) != 0) return false;
    }
    return true;
}

}  // namespace gemel::tools
