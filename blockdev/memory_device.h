// SPDX-License-Identifier: Apache-2.0
//
// MemoryDevice: a block device in memory, for tests and for measuring what front ends cost. Calls
// finish without suspending. Untouched and trimmed pages take no memory.
#pragma once

#include <vector>

#include "blockdev/block_device.h"

namespace gemel::blockdev {

class MemoryDevice final : public BlockDevice {
public:
    // `size` is a multiple of 4096 and not 0.
    explicit MemoryDevice(uint64_t size, bool read_only = false);
    ~MemoryDevice() override;
    MemoryDevice(const MemoryDevice&) = delete;
    MemoryDevice& operator=(const MemoryDevice&) = delete;

    const Geometry& geometry() const override { return geometry_; }
    Task<Status> read(uint64_t offset, std::span<std::byte> data) override;
    Task<Status> write(uint64_t offset, std::span<const std::byte> data,
                       WriteOptions options) override;
    Task<Status> flush() override;
    Task<Status> trim(uint64_t offset, uint64_t length, WriteOptions options) override;
    Task<Status> write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) override;
    Task<Result<std::vector<Extent>>> extents(uint64_t offset, uint64_t length,
                                              size_t limit) override;

    // The content, for tests to compare with.
    std::span<std::byte> content() { return {memory_, geometry_.size}; }
    uint64_t flushes() const { return flushes_; }

private:
    enum class Page : uint8_t { hole, zero, data };

    bool contains(uint64_t offset, uint64_t length) const;
    void clear_pages(uint64_t first, uint64_t end, Page state);
    void clear_edges(uint64_t offset, uint64_t length);

    Geometry geometry_;
    std::byte* memory_ = nullptr;
    std::vector<Page> pages_;
    uint64_t flushes_ = 0;
};

}  // namespace gemel::blockdev
