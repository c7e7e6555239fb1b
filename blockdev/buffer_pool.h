// SPDX-License-Identifier: Apache-2.0
//
// Aligned buffers for batches, recycled so that steady writing neither maps nor faults memory.
//
// They are cut from slabs of one size class each, not from malloc, whose headers would cost every
// aligned buffer another page. A slab stays mapped as long as the pool, but the memory of buffers
// beyond the limit goes back to the system.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "blockdev/bytes.h"

namespace gemel::blockdev {

// Eight size classes per doubling, so a buffer wastes at most a ninth of itself. Freed buffers keep
// their memory as long as all of them, in use and free, stay within `limit_bytes`; taking is never
// refused, but full() asks the taker to wait. The pool outlives its buffers.
class BufferPool {
public:
    explicit BufferPool(size_t limit_bytes) : limit_bytes_(limit_bytes) {}
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
    // Gives the memory of all free buffers back to the system.
    void trim();
    // The same, and keeps nothing from now on: of buffers that are still in use neither.
    void retire();

    size_t bytes_in_use() const { return in_use_bytes_; }
    // Of free buffers that still have their memory.
    size_t bytes_kept() const { return kept_bytes_; }
    bool full() const { return in_use_bytes_ >= limit_bytes_; }

private:
    static constexpr size_t kClasses = 56;
    struct Slab {
        std::byte* memory = nullptr;
        size_t bytes = 0;
    };
    struct Free {
        std::vector<std::byte*> warm;  // With memory behind them,
        std::vector<std::byte*> cold;  // and without.
    };

    static size_t class_of(size_t size);
    static size_t class_bytes(size_t size_class);
    void give_back(std::byte* memory, size_t size_class);
    void add_slab(size_t size_class);
    void chill(std::byte* memory, size_t size_class);
    // Lets go of the memory of free buffers, the largest first, until `size` more bytes are within
    // the limit.
    void make_room(size_t size);

    size_t limit_bytes_;
    size_t kept_bytes_ = 0;
    size_t in_use_bytes_ = 0;
    std::array<Free, kClasses> free_;
    std::vector<Slab> slabs_;
};

}  // namespace gemel::blockdev
