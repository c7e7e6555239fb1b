// SPDX-License-Identifier: Apache-2.0
#include "blockdev/bytes.h"

#include <cstring>
#include <new>

namespace gemel {

void AlignedFree::operator()(std::byte* memory) const {
    ::operator delete(memory, std::align_val_t{kIoAlignment});
}

AlignedBytes allocate_aligned(size_t size) {
    const size_t rounded = round_up(size == 0 ? 1 : size, kIoAlignment);
    void* memory = ::operator new(rounded, std::align_val_t{kIoAlignment});
    return AlignedBytes(static_cast<std::byte*>(memory));
}

AlignedBytes allocate_zeroed(size_t size) {
    AlignedBytes memory = allocate_aligned(size);
    std::memset(memory.get(), 0, size);
    return memory;
}

bool all_zero(std::span<const std::byte> data) {
    if (data.empty()) return true;
    // Compares the range with itself shifted by one byte: memcmp is vectorised.
    return data[0] == std::byte{0} &&
           std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

}  // namespace gemel
