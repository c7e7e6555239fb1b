// SPDX-License-Identifier: Apache-2.0
#include "blockdev/buffer_pool.h"

#include <sanitizer/asan_interface.h>  // Its macros are empty in other builds.
#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

constexpr size_t kSlabBytes = 1 << 20;  // At least; a larger buffer has a slab of its own.

}  // namespace

// In units of 4 KiB: 1 2 .. 8 | 9 10 .. 16 | 18 20 .. 32 | 36 40 .. 64 | ...
size_t BufferPool::class_bytes(size_t size_class) {
    if (size_class < 8) return (size_class + 1) * kIoAlignment;
    const size_t doubling = size_class / 8 - 1;
    return (9 + size_class % 8) * (kIoAlignment << doubling);
}

size_t BufferPool::class_of(size_t size) {
    const size_t units = divide_up(size == 0 ? 1 : size, kIoAlignment);
    if (units <= 8) return units - 1;
    // 8 * 2^d < units <= 16 * 2^d
    const auto doubling = static_cast<size_t>(std::bit_width((units - 1) / 8)) - 1;
    return (doubling + 1) * 8 + divide_up(units, size_t{1} << doubling) - 9;
}

BufferPool::~BufferPool() {
    CHECK(in_use_bytes_ == 0);
    for (const Slab& slab : slabs_) {
        ASAN_UNPOISON_MEMORY_REGION(slab.memory, slab.bytes);
        munmap(slab.memory, slab.bytes);
    }
}

BufferPool::Buffer BufferPool::take(size_t size) {
    const size_t size_class = class_of(size);
    const size_t bytes = class_bytes(size_class);
    CHECK(size_class < kClasses && bytes >= size);
    Free& free = free_[size_class];
    std::byte* memory = nullptr;
    if (!free.warm.empty()) {
        memory = free.warm.back();
        free.warm.pop_back();
        kept_bytes_ -= bytes;
    } else {
        make_room(bytes);
        if (free.cold.empty()) add_slab(size_class);
        memory = free.cold.back();
        free.cold.pop_back();
    }
    in_use_bytes_ += bytes;
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
    return Buffer(memory, Return{this, size_class});
}

void BufferPool::add_slab(size_t size_class) {
    const size_t bytes = class_bytes(size_class);
    const size_t count = std::max<size_t>(kSlabBytes / bytes, 1);
    void* mapped = mmap(nullptr, count * bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapped != MAP_FAILED);
    auto* memory = static_cast<std::byte*>(mapped);
    slabs_.push_back({memory, count * bytes});
    ASAN_POISON_MEMORY_REGION(memory, count * bytes);
    for (size_t i = count; i-- > 0;) free_[size_class].cold.push_back(memory + i * bytes);
}

void BufferPool::give_back(std::byte* memory, size_t size_class) {
    const size_t bytes = class_bytes(size_class);
    ASAN_POISON_MEMORY_REGION(memory, bytes);
    in_use_bytes_ -= bytes;
    if (in_use_bytes_ + kept_bytes_ + bytes > limit_bytes_) return chill(memory, size_class);
    kept_bytes_ += bytes;
    free_[size_class].warm.push_back(memory);
}

void BufferPool::chill(std::byte* memory, size_t size_class) {
    madvise(memory, class_bytes(size_class), MADV_DONTNEED);
    free_[size_class].cold.push_back(memory);
}

void BufferPool::make_room(size_t size) {
    for (size_t size_class = kClasses; size_class-- > 0;) {
        std::vector<std::byte*>& warm = free_[size_class].warm;
        while (!warm.empty() && in_use_bytes_ + kept_bytes_ + size > limit_bytes_) {
            kept_bytes_ -= class_bytes(size_class);
            chill(warm.back(), size_class);
            warm.pop_back();
        }
    }
}

void BufferPool::retire() {
    limit_bytes_ = 0;
    trim();
}

void BufferPool::trim() {
    for (size_t size_class = 0; size_class < kClasses; ++size_class) {
        for (std::byte* memory : free_[size_class].warm) chill(memory, size_class);
        free_[size_class].warm.clear();
    }
    kept_bytes_ = 0;
}

}  // namespace gemel::blockdev
