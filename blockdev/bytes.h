// SPDX-License-Identifier: Apache-2.0
//
// Byte order as a type, aligned buffers, checked arithmetic.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>

namespace gemel {

// An unsigned integer stored in a fixed byte order with alignment 1. Reads and writes convert, so
// neither format code nor protocol code ever swaps bytes by hand.
template <typename T, std::endian Order>
class Stored {
    static_assert(std::is_unsigned_v<T>);

public:
    Stored() = default;
    Stored(T value) { *this = value; }
    Stored& operator=(T value) {
        const T raw = convert(value);
        std::memcpy(bytes_.data(), &raw, sizeof raw);
        return *this;
    }
    operator T() const {
        T raw;
        std::memcpy(&raw, bytes_.data(), sizeof raw);
        return convert(raw);
    }
    T get() const { return *this; }

private:
    static T convert(T value) {
        if constexpr (Order == std::endian::native || sizeof(T) == 1) {
            return value;
        } else if constexpr (sizeof(T) == 2) {
            return __builtin_bswap16(value);
        } else if constexpr (sizeof(T) == 4) {
            return __builtin_bswap32(value);
        } else {
            return __builtin_bswap64(value);
        }
    }
    std::array<uint8_t, sizeof(T)> bytes_;
};

using le16 = Stored<uint16_t, std::endian::little>;
using le32 = Stored<uint32_t, std::endian::little>;
using le64 = Stored<uint64_t, std::endian::little>;
using be16 = Stored<uint16_t, std::endian::big>;
using be32 = Stored<uint32_t, std::endian::big>;
using be64 = Stored<uint64_t, std::endian::big>;
static_assert(alignof(le64) == 1 && sizeof(le64) == 8 && std::is_trivially_copyable_v<le64>);

// Memory aligned for direct I/O.
inline constexpr size_t kIoAlignment = 4096;

struct AlignedFree {
    void operator()(std::byte* memory) const;
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedFree>;

// `size` uninitialised bytes at an address that is a multiple of kIoAlignment.
AlignedBytes allocate_aligned(size_t size);
// The same, all zero.
AlignedBytes allocate_zeroed(size_t size);

// A whole plain struct as bytes, and back.
template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return std::as_bytes(std::span<const T, 1>(&value, 1));
}
template <typename T>
std::span<std::byte> writable_bytes_of(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return std::as_writable_bytes(std::span<T, 1>(&value, 1));
}

bool all_zero(std::span<const std::byte> data);

// a + b, or nothing where that does not fit.
constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
    return sum;
}

constexpr uint64_t divide_up(uint64_t value, uint64_t unit) {
    return value / unit + (value % unit != 0 ? 1 : 0);
}
constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return divide_up(value, unit) * unit; }
constexpr uint64_t round_down(uint64_t value, uint64_t unit) { return value / unit * unit; }

}  // namespace gemel
