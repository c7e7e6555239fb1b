// SPDX-License-Identifier: Apache-2.0
//
// A file or block device as the product sees it: one half of the seam between the product and the
// kernel (or the simulator). No errno, descriptor or kernel structure crosses it.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "blockdev/loop.h"
#include "blockdev/result.h"

namespace gemel {

enum class IoKind : uint8_t {
    read,
    write,
    sync,  // All writes completed before its submission are durable once it succeeds. After one has
           // failed all fail: what the kernel dropped then, no later one makes durable.
    punch,  // The range reads as zeros; its space may be given back.
    zero,   // The range reads as zeros; its space stays (or becomes) allocated.
};

struct IoSegment {
    std::byte* data = nullptr;
    size_t length = 0;
};

// One operation in flight. It lives in its owner's frame and must stay there, with its segments and
// their memory, until `done` has run: also if nobody waits for the outcome any more.
struct IoRequest {
    IoKind kind = IoKind::read;
    uint64_t offset = 0;
    uint64_t length = 0;                  // Bytes in all segments, or of the range to clear.
    const IoSegment* segments = nullptr;  // For read and write. A write leaves them unchanged.
    uint32_t segment_count = 0;
    Continuation done;                 // Posted to the loop exactly once.
    Status status;                     // The outcome, set before `done` is posted.
    uint64_t private_to_disk[4] = {};  // For the implementation, while in flight.
};

struct DiskTraits {
    std::string path;
    bool is_block_device = false;
    bool direct = false;  // False: the file system refuses O_DIRECT, the page cache is used.
    bool read_only = false;
    uint64_t file_system = 0;  // Files that have this in common share their space.
};

// Offsets, lengths and memory are multiples of kIoAlignment. Transfers are whole: a short read or
// write is continued by the implementation, and a read beyond the end is an error.
class Disk {
public:
    virtual ~Disk() = default;

    // Starts `request`. Never completes it from inside the call, never blocks.
    virtual void submit(IoRequest& request) = 0;

    virtual const DiskTraits& traits() const = 0;
    virtual uint64_t size() const = 0;
    // Bytes the file system could still give to this file; UINT64_MAX for block devices.
    virtual Result<uint64_t> free_bytes() const = 0;
    // True if no byte was ever written: an empty file, or one that is a hole from end to end, or a
    // device whose first and last MiB are zero, and samples in between. Blocks; for creating.
    virtual Result<bool> is_blank() = 0;
    // Sets a file's size (sparse). Fails on a block device that is smaller. Blocks; for creating.
    virtual Status resize(uint64_t size) = 0;
    // Takes an exclusive lock that belongs to the open file description doing the I/O, so that it
    // is free only after every request of a killed owner has landed. Errc::busy if somebody has it.
    virtual Status try_lock() = 0;

    class Operation;
    Operation read(uint64_t offset, std::span<std::byte> data);
    Operation write(uint64_t offset, std::span<const std::byte> data);
    // The same piece of memory may appear in several segments of a read: for what is not wanted.
    Operation read_segments(uint64_t offset, std::span<const IoSegment> segments);
    Operation write_segments(uint64_t offset, std::span<const IoSegment> segments);
    Operation sync();
    Operation punch(uint64_t offset, uint64_t length);
    Operation zero(uint64_t offset, uint64_t length);
};

// co_await disk.read(...) yields a Status. Lives in the awaiting frame; allocates nothing.
class Disk::Operation {
public:
    Operation(Disk& disk, IoKind kind, uint64_t offset, IoSegment segment);
    Operation(Disk& disk, IoKind kind, uint64_t offset, std::span<const IoSegment> segments);
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        request_.done.resumes(handle);
        disk_.submit(request_);
    }
    Status await_resume() { return request_.status; }

private:
    Disk& disk_;
    IoSegment segment_;
    IoRequest request_;
};

}  // namespace gemel
