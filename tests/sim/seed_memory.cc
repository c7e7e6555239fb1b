// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/seed_memory.h"

#ifdef __SANITIZE_ADDRESS__
#define GEMEL_KEEPS_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GEMEL_KEEPS_MEMORY 0
#endif
#endif
#ifndef GEMEL_KEEPS_MEMORY
#define GEMEL_KEEPS_MEMORY 1
#endif

#if !GEMEL_KEEPS_MEMORY

namespace gemel::sim {

SeedMemory::SeedMemory() = default;
SeedMemory::~SeedMemory() = default;

}  // namespace gemel::sim

#else

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "blockdev/assert.h"
#include "blockdev/bytes.h"

namespace gemel::sim {

namespace {

void* map(void* address, size_t length, int protection, int flags, int file, off_t offset) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<void*>(
        syscall(SYS_mmap, address, length, protection, flags, file, offset));
}

// A range of addresses, cut into chunks of one size class each. A chunk remembers its class, so
// that memory finds its way back without a header.
template <size_t kChunk, size_t kUnit, size_t kClasses>
class Heap {
public:
    void* take(size_t size) {
        if (base_ == nullptr) reserve();
        const size_t number = class_of(size);
        Class& here = classes_[number];
        if (here.free != nullptr) {
            void* memory = here.free;
            here.free = *static_cast<void**>(memory);
            return memory;
        }
        const size_t bytes = class_bytes(number);
        if (here.next == here.end) {
            const size_t chunks = divide_up(bytes, kChunk);
            CHECK(chunks_ + chunks <= kChunks);
            class_of_chunk_[chunks_] = static_cast<uint8_t>(number);
            here.next = base_ + chunks_ * kChunk;
            here.end = here.next + (chunks == 1 ? kChunk / bytes : 1) * bytes;
            chunks_ += chunks;
        }
        void* memory = here.next;
        here.next += bytes;
        return memory;
    }
    bool holds(const void* memory) const {
        const auto* place = static_cast<const std::byte*>(memory);
        return base_ != nullptr && place >= base_ && place < base_ + kReserved;
    }
    void give_back(void* memory) {
        const auto offset = static_cast<size_t>(static_cast<std::byte*>(memory) - base_);
        Class& here = classes_[class_of_chunk_[offset / kChunk]];
        *static_cast<void**>(memory) = here.free;
        here.free = memory;
    }
    void forget_all() {
        classes_ = {};
        chunks_ = 0;
    }

private:
    static constexpr size_t kReserved = size_t{1} << 36;  // Of addresses; memory comes with use.
    static constexpr size_t kChunks = kReserved / kChunk;
    struct Class {
        void* free = nullptr;  // The first one, which points to the next.
        std::byte* next = nullptr;
        std::byte* end = nullptr;
    };

    // In units: 1 2 .. 8 | 9 10 .. 16 | 18 20 .. 32 | 36 40 .. 64 | ...
    static size_t class_bytes(size_t number) {
        if (number < 8) return (number + 1) * kUnit;
        return (9 + number % 8) * (kUnit << (number / 8 - 1));
    }
    static size_t class_of(size_t size) {
        const size_t units = divide_up(size == 0 ? 1 : size, kUnit);
        if (units <= 8) return units - 1;
        const auto doubling = static_cast<size_t>(std::bit_width((units - 1) / 8)) - 1;
        const size_t number = (doubling + 1) * 8 + divide_up(units, size_t{1} << doubling) - 9;
        CHECK(number < kClasses);
        return number;
    }
    void reserve() {
        constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* mapped = map(nullptr, kReserved, PROT_READ | PROT_WRITE, kFlags, -1, 0);
        CHECK(mapped != MAP_FAILED);
        base_ = static_cast<std::byte*>(mapped);
        const size_t table = kChunks * sizeof *class_of_chunk_;
        mapped = map(nullptr, table, PROT_READ | PROT_WRITE, kFlags, -1, 0);
        CHECK(mapped != MAP_FAILED);
        class_of_chunk_ = static_cast<uint8_t*>(mapped);
    }

    std::byte* base_ = nullptr;
    uint8_t* class_of_chunk_ = nullptr;
    size_t chunks_ = 0;
    std::array<Class, kClasses> classes_{};
};

constexpr size_t kSmallMax = 16 << 10;
constexpr size_t kSmallAlignment = 16;

// Constant-initialised: memory is asked for before any constructor runs.
constinit Heap<size_t{64} << 10, kSmallAlignment, 64> small_ones;
constinit Heap<size_t{64} << 10, kIoAlignment, 160> pages;
constinit bool collecting = false;

void* take(size_t size, size_t alignment) {
    if (!collecting) {
        if (alignment <= kSmallAlignment) return std::malloc(size == 0 ? 1 : size);
        return std::aligned_alloc(alignment, round_up(size == 0 ? 1 : size, alignment));
    }
    CHECK(alignment <= kIoAlignment);
    const bool small = size <= kSmallMax && alignment <= kSmallAlignment;
    return small ? small_ones.take(size) : pages.take(size);
}

void give_back(void* memory) {
    if (small_ones.holds(memory)) return small_ones.give_back(memory);
    if (pages.holds(memory)) return pages.give_back(memory);
    std::free(memory);
}

}  // namespace

SeedMemory::SeedMemory() {
    CHECK(!collecting);
    collecting = true;
}

SeedMemory::~SeedMemory() {
    collecting = false;
    small_ones.forget_all();
    pages.forget_all();
}

}  // namespace gemel::sim

void* operator new(size_t size) {
    void* memory = gemel::sim::take(size, gemel::sim::kSmallAlignment);
    CHECK(memory != nullptr);
    return memory;
}
void* operator new(size_t size, std::align_val_t alignment) {
    void* memory = gemel::sim::take(size, static_cast<size_t>(alignment));
    CHECK(memory != nullptr);
    return memory;
}
void operator delete(void* memory) noexcept { gemel::sim::give_back(memory); }
void operator delete(void* memory, size_t) noexcept { gemel::sim::give_back(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { gemel::sim::give_back(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
    gemel::sim::give_back(memory);
}

extern "C" void* mmap(void* address, size_t length, int protection, int flags, int file,
                      off_t offset) noexcept {
    const bool plain = address == nullptr && file == -1 && protection == (PROT_READ | PROT_WRITE);
    if (plain && gemel::sim::collecting) return gemel::sim::pages.take(length);
    return gemel::sim::map(address, length, protection, flags, file, offset);
}

extern "C" int munmap(void* address, size_t length) noexcept {
    if (!gemel::sim::pages.holds(address)) {
        return static_cast<int>(syscall(SYS_munmap, address, length));
    }
    gemel::sim::pages.give_back(address);
    return 0;
}

// Its memory stays.
extern "C" int madvise(void* address, size_t length, int advice) noexcept {
    if (gemel::sim::pages.holds(address)) return 0;
    return static_cast<int>(syscall(SYS_madvise, address, length, advice));
}

#endif
