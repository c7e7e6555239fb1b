// SPDX-License-Identifier: Apache-2.0
#include "blockdev/buffer_pool.h"

#include <bit>

#include "blockdev/assert.h"

namespace gemel::blockdev {

// In units of 4 KiB: 1 2 3 4 | 5 6 7 8 | 10 12 14 16 | 20 24 28 32 | ...
size_t BufferPool::class_bytes(size_t size_class) {
    if (size_class < 4) return (size_class + 1) * kIoAlignment;
    const size_t doubling = size_class / 4 - 1;
    return (5 + size_class % 4) * (kIoAlignment << doubling);
}

size_t BufferPool::class_of(size_t size) {
    const size_t units = divide_up(size == 0 ? 1 : size, kIoAlignment);
    if (units <= 4) return units - 1;
    // 4 * 2^d < units <= 8 * 2^d
    const auto doubling = static_cast<size_t>(std::bit_width((units - 1) / 4)) - 1;
    return (doubling + 1) * 4 + divide_up(units, size_t{1} << doubling) - 5;
}

BufferPool::~BufferPool() { CHECK(in_use_bytes_ == 0); }

BufferPool::Buffer BufferPool::take(size_t size) {
    const size_t size_class = class_of(size);
    CHECK(size_class < kClasses && class_bytes(size_class) >= size);
    in_use_bytes_ += class_bytes(size_class);
    std::vector<AlignedBytes>& kept = kept_[size_class];
    std::byte* memory = nullptr;
    if (kept.empty()) {
        memory = allocate_aligned(class_bytes(size_class)).release();
    } else {
        memory = kept.back().release();
        kept.pop_back();
        kept_bytes_ -= class_bytes(size_class);
    }
    return Buffer(memory, Return{this, size_class});
}

void BufferPool::give_back(std::byte* memory, size_t size_class) {
    AlignedBytes owned(memory);
    in_use_bytes_ -= class_bytes(size_class);
    if (kept_bytes_ + class_bytes(size_class) > keep_bytes_) return;
    kept_bytes_ += class_bytes(size_class);
    kept_[size_class].push_back(std::move(owned));
}

void BufferPool::trim() {
    for (auto& kept : kept_) kept.clear();
    kept_bytes_ = 0;
}

}  // namespace gemel::blockdev
