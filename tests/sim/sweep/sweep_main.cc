// SPDX-License-Identifier: Apache-2.0
//
// Tens of thousands of volumes are opened in one process, each with MiBs of windows and buffers:
// giving their memory back to the kernel, and getting it again page by page, would cost more than
// everything else together. So it is kept, whoever frees it: by malloc, and by what stands in for
// the kernel's calls here, which BufferPool uses. Mapped memory is then not zero; nobody here
// relies on that.
#include <gmock/gmock.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>
#include <vector>

#ifndef __SANITIZE_ADDRESS__

namespace {

constexpr size_t kKeptMax = 256;  // Of one size.

std::map<size_t, std::vector<void*>>& kept() {
    static auto* all = new std::map<size_t, std::vector<void*>>;
    return *all;
}

}  // namespace

extern "C" void* mmap(void* address, size_t length, int protection, int flags, int file,
                      off_t offset) noexcept {
    const bool plain = address == nullptr && file == -1 && protection == (PROT_READ | PROT_WRITE);
    if (plain) {
        std::vector<void*>& free = kept()[length];
        if (!free.empty()) {
            void* memory = free.back();
            free.pop_back();
            return memory;
        }
    }
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    return reinterpret_cast<void*>(
        syscall(SYS_mmap, address, length, protection, flags, file, offset));
}

extern "C" int munmap(void* address, size_t length) noexcept {
    const auto found = kept().find(length);
    if (found != kept().end() && found->second.size() < kKeptMax) {
        found->second.push_back(address);
        return 0;
    }
    return static_cast<int>(syscall(SYS_munmap, address, length));
}

#endif

int main(int argc, char** argv) {
    constexpr int kLargestThreshold = 32 << 20;
    mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    testing::InitGoogleMock(&argc, argv);
    return RUN_ALL_TESTS();
}
