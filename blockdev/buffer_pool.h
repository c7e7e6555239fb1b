// SPDX-License-Identifier: Apache-2.0
//
// Aligned buffers for batches, recycled so that steady writing neither maps nor faults memory.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "blockdev/bytes.h"

namespace gemel::blockdev {

// Four size classes per doubling, so a buffer wastes at most a fifth of itself. Freed buffers are
// kept up to `keep_bytes`, beyond that they go back to the system. The pool outlives its buffers.
class BufferPool {
public:
    explicit BufferPool(size_t keep_bytes) : keep_bytes_(keep_bytes) {}
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    struct Return {
        BufferPool* pool = nullptr;
        size_t size_class = 0;
        void operator()(std::byte* memory) const { pool->give_back(memory, size_class); }
    };
    using Buffer = std::unique_ptr<std::byte[], Return>;

    // `size` bytes, uninitialised, aligned for direct I/O. At most 2 MiB.
    Buffer take(size_t size);
    // Gives all that is kept back to the system.
    void trim();

    size_t bytes_in_use() const { return in_use_bytes_; }

private:
    static constexpr size_t kClasses = 40;
    static size_t class_of(size_t size);
    static size_t class_bytes(size_t size_class);
    void give_back(std::byte* memory, size_t size_class);

    size_t keep_bytes_;
    size_t kept_bytes_ = 0;
    size_t in_use_bytes_ = 0;
    std::array<std::vector<AlignedBytes>, kClasses> kept_;
};

}  // namespace gemel::blockdev
