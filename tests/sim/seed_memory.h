// SPDX-License-Identifier: Apache-2.0
//
// SeedMemory: everything that one seed allocates, in one place that the next seed of the same
// process gets again, warm. A seed leaves much behind, since processes killed in the simulation are
// never destroyed (see leaks.cc); and a new process for each seed spends more time on page faults
// than on anything else.
//
// It stands in for operator new and for the kernel's calls for anonymous memory, of which the
// product's BufferPool lives. Such memory is not zero here; nobody relies on that. Builds with
// AddressSanitizer keep their own allocator, and leave everything behind.
#pragma once

namespace gemel::sim {

// While one of these lives, and only one can, whatever is allocated belongs to it. It must not be
// used afterwards, nor deleted; what was there before may be used and deleted at any time.
class SeedMemory {
public:
    SeedMemory();
    ~SeedMemory();
    SeedMemory(const SeedMemory&) = delete;
    SeedMemory& operator=(const SeedMemory&) = delete;
};

}  // namespace gemel::sim
