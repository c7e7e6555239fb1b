// SPDX-License-Identifier: Apache-2.0
//
// Reads batches back from a member's log ring, after a crash.
#pragma once

#include <vector>

#include "blockdev/batch.h"
#include "blockdev/disk.h"
#include "blockdev/layout.h"
#include "blockdev/log_ring.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

class LogReader {
public:
    // All referenced objects outlive the reader.
    LogReader(Disk& disk, const Layout& layout, Uuid volume, const ecc::BlockHasher& hasher,
              BufferPool& pool)
        : disk_(disk), layout_(layout), volume_(volume), hasher_(hasher), pool_(pool) {}

    struct Found {
        BatchRef batch;       // Null: the batch `link` asks for is not there, whole and right.
        uint64_t offset = 0;  // In the ring.
    };
    // Looks for the batch that follows `link`, where a writer with its head at `head` put it. Fails
    // only if the device cannot be read just there.
    Task<Result<Found>> next(uint64_t head, ChainLink link);

    // See Member::highest_stable_point(). Blocks that cannot be read are left out; a device of
    // which hardly anything can be read is an error.
    Task<Result<uint64_t>> highest_stable_point(Uuid epoch_id);

    // See Member::pages_in_log(). Blocks that cannot be read are left out.
    Task<Result<std::vector<uint64_t>>> pages_in_log(uint64_t after);

private:
    // Calls look(block) for every block of the ring that can be read and is a batch's header.
    template <typename Look>
    Task<Status> for_each_header(Look look);
    Task<Result<Found>> at(uint64_t offset, ChainLink link);
    // Makes `length` bytes from `offset` on available in the window.
    Task<Result<const std::byte*>> window(uint64_t offset, uint64_t length);
    Task<Status> load(uint64_t offset, uint64_t length);

    static constexpr uint64_t kWindowSize = 4 * kMiB;
    static_assert(kWindowSize >= kMaximumBatchSize);
    static constexpr size_t kFailuresMax = 1024;  // Requests; a bad block costs about 20.

    Disk& disk_;
    const Layout& layout_;
    Uuid volume_;
    const ecc::BlockHasher& hasher_;
    BufferPool& pool_;
    AlignedBytes window_;
    uint64_t window_start_ = 0;
    uint64_t window_length_ = 0;
};

}  // namespace gemel::blockdev
