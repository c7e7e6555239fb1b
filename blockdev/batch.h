// SPDX-License-Identifier: Apache-2.0
//
// Batch: a group of numbered writes, encoded once, the same bytes in every member's log. Immutable
// once made. Its header block carries the checksums of its payload, so it proves itself.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "blockdev/buffer_pool.h"
#include "blockdev/disk_format.h"

namespace gemel::blockdev {

// One write to be encoded. `data` holds block_count whole blocks for EntryKind::write.
struct BatchWrite {
    EntryKind kind = EntryKind::none;
    uint64_t first_block = 0;
    uint32_t block_count = 0;
    const std::byte* data = nullptr;
};

// Where in history a batch stands, and what it knows of the rest.
struct BatchPlace {
    Uuid volume;
    Uuid epoch_id;
    uint64_t first_sequence = 0;
    uint64_t previous_hash = 0;
    uint64_t commit_point = 0;
    uint64_t stable_point = 0;
};

class Batch;
using BatchRef = std::shared_ptr<const Batch>;

class Batch {
public:
    // Copies and hashes the payload once. The writes must fit: batch_fits().
    static BatchRef encode(BufferPool& pool, const ecc::BlockHasher& hasher,
                           const BatchPlace& place, std::span<const BatchWrite> writes);
    // Takes `bytes` (a header block and its payload, already checked with batch_fault()).
    static BatchRef adopt(BufferPool::Buffer bytes);

    const BatchHeader& header() const {
        return *reinterpret_cast<const BatchHeader*>(bytes_.get());
    }
    uint64_t hash() const { return header().checksum; }
    uint64_t first_sequence() const { return header().first_sequence; }
    uint64_t last_sequence() const { return first_sequence() + header().entries - 1; }
    uint64_t size() const { return (1 + header().payload_blocks) * kBlockSize; }
    std::span<const std::byte> bytes() const { return {bytes_.get(), size()}; }

    std::span<const LogEntry> entries() const;
    uint64_t payload_checksum(uint32_t index) const;
    const std::byte* payload(uint32_t index) const {
        return bytes_.get() + (1 + uint64_t{index}) * kBlockSize;
    }

    explicit Batch(BufferPool::Buffer bytes) : bytes_(std::move(bytes)) {}

private:
    BufferPool::Buffer bytes_;
};

// Whether `entries` writes with `payload_blocks` blocks in all fit into one batch.
bool batch_fits(size_t entries, uint64_t payload_blocks);

// Checks a header block read from a log, before anything in it is used. Returns the first broken
// rule, or null. `volume_blocks` bounds the ranges.
const char* batch_header_fault(std::span<const std::byte> block, const Uuid& volume,
                               uint64_t volume_blocks);
// Checks the payload behind a header that is good.
const char* batch_payload_fault(std::span<const std::byte> bytes, const ecc::BlockHasher& hasher);

}  // namespace gemel::blockdev
