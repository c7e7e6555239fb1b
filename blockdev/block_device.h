// SPDX-License-Identifier: Apache-2.0
//
// BlockDevice: what front ends serve and decorators wrap. Any byte offset and length inside the
// device works; multiples of geometry().preferred_block are fast.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "blockdev/result.h"
#include "blockdev/task.h"

namespace gemel {

struct Geometry {
    uint64_t size = 0;           // Bytes.
    uint32_t minimum_block = 1;  // Requests may have any alignment that is a multiple of it.
    uint32_t preferred_block = 4096;
    uint32_t maximum_transfer = 32u << 20;
    bool read_only = false;
};

struct WriteOptions {
    bool fua = false;  // Completes when it, and all before it, is durable.
};

struct ZeroOptions {
    bool fua = false;
    bool keep_allocated = false;  // NBD's NO_HOLE: later writes there must find space.
    bool fast_only = false;       // Fail with unsupported rather than write zeros.
};

// What is known about a range without reading it.
struct Extent {
    uint64_t length = 0;
    bool zero = false;  // Reads as zeros.
    bool hole = false;  // And occupies no space.
};

// Concurrent calls on overlapping ranges behave as if done one after the other, in the order in
// which they were made; each 4 KiB block is seen whole. Memory passed in belongs to the call until
// its task ends. Ranges outside the device are Errc::invalid. A completed write is visible to every
// later read; it is durable after a later flush has succeeded.
class BlockDevice {
public:
    virtual ~BlockDevice() = default;

    virtual const Geometry& geometry() const = 0;

    virtual Task<Status> read(uint64_t offset, std::span<std::byte> data) = 0;
    virtual Task<Status> write(uint64_t offset, std::span<const std::byte> data,
                               WriteOptions options) = 0;
    virtual Task<Status> flush() = 0;
    // A hint: whole preferred blocks inside the range read as zeros afterwards; the rest is kept.
    virtual Task<Status> trim(uint64_t offset, uint64_t length, WriteOptions options) = 0;
    virtual Task<Status> write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) = 0;
    // Extents from `offset` on, at most `limit` of them, covering at most `length` bytes and at
    // least one. The last one may end before the range does.
    virtual Task<Result<std::vector<Extent>>> extents(uint64_t offset, uint64_t length,
                                                      size_t limit) = 0;
};

}  // namespace gemel
