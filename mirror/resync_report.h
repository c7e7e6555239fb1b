// SPDX-License-Identifier: Apache-2.0
//
// What the resync engine says of itself.
#pragma once

#include <cstdint>

namespace gemel::mirror {

struct ResyncReport {
    bool running = false;
    uint64_t pages = 0;            // To be looked at, of 512 blocks each,
    uint64_t pages_done = 0;       // and those that have been.
    uint64_t blocks_compared = 0;  // By their checksums.
    uint64_t blocks_copied = 0;
    uint64_t blocks_zeroed = 0;         // Marked, without copying.
    uint64_t blocks_unrecoverable = 0;  // No good copy anywhere.
    uint64_t elapsed_ns = 0;
    uint64_t remaining_s = 0;  // An estimate.
};

}  // namespace gemel::mirror
