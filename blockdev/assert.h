// SPDX-License-Identifier: Apache-2.0
//
// CHECK states what must hold because of our own code. It stays on in release builds and stops the
// process. What a disk, a peer, the kernel or an operator can cause is a Result, never a CHECK.
#pragma once

namespace gemel {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace gemel

#define CHECK(condition)                                           \
    do {                                                           \
        if (!(condition)) [[unlikely]]                             \
            ::gemel::check_failed(#condition, __FILE__, __LINE__); \
    } while (false)
