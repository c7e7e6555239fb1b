// SPDX-License-Identifier: Apache-2.0
//
// The arithmetic of the log ring, shared by its writer and its reader. A batch never wraps around
// the ring's end: one that does not fit before it goes to the start.
#pragma once

#include <cstdint>

#include "blockdev/disk_format.h"

namespace gemel::blockdev {

// Where the writer puts a batch of `bytes` when its head stands at `head`.
constexpr uint64_t ring_place(uint64_t ring_size, uint64_t head, uint64_t bytes) {
    return head + bytes <= ring_size ? head : 0;
}

// What that takes from the ring's free space, including what is skipped at the end.
constexpr uint64_t ring_cost(uint64_t ring_size, uint64_t head, uint64_t bytes) {
    return head + bytes <= ring_size ? bytes : ring_size - head + bytes;
}

// The position in history that a batch must prove to be the next one of a chain.
struct ChainLink {
    Uuid epoch_id;
    uint64_t sequence = 0;  // Its first sequence number.
    uint64_t previous_hash = 0;

    bool accepts(const BatchHeader& header) const {
        return header.epoch_id == epoch_id && header.first_sequence == sequence &&
               header.previous_hash == previous_hash;
    }
};

}  // namespace gemel::blockdev
