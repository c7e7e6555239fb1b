// SPDX-License-Identifier: Apache-2.0
#include "blockdev/log_reader.h"

#include <algorithm>
#include <cstring>

namespace gemel::blockdev {

Task<Result<LogReader::Found>> LogReader::next(uint64_t head, ChainLink link) {
    if (head + kBlockSize <= layout_.log_size) {
        Result<Found> here = co_await at(head, link);
        if (!here.ok() || here.value().batch) co_return here;
    }
    // It may not have fitted before the ring's end. (At 0 itself there is nothing else to try.)
    if (head != 0 && head + kMaximumBatchSize > layout_.log_size) co_return co_await at(0, link);
    co_return Found{};
}

Task<Result<LogReader::Found>> LogReader::at(uint64_t offset, ChainLink link) {
    Result<const std::byte*> block = co_await window(offset, kBlockSize);
    if (!block.ok()) co_return block.error();
    const std::span<const std::byte> header_block(block.value(), kBlockSize);
    if (batch_header_fault(header_block, volume_, layout_.volume_blocks()) != nullptr) {
        co_return Found{};
    }
    const auto& header = *reinterpret_cast<const BatchHeader*>(header_block.data());
    const uint64_t size = (1 + uint64_t{header.payload_blocks}) * kBlockSize;
    if (!link.accepts(header) || offset + size > layout_.log_size) co_return Found{};

    Result<const std::byte*> whole = co_await window(offset, size);
    if (!whole.ok()) co_return whole.error();
    if (batch_payload_fault({whole.value(), size}, hasher_) != nullptr) co_return Found{};
    BufferPool::Buffer copy = pool_.take(size);
    std::memcpy(copy.get(), whole.value(), size);
    co_return Found{Batch::adopt(std::move(copy)), offset};
}

Task<Result<uint64_t>> LogReader::highest_stable_point(Uuid epoch_id) {
    uint64_t highest = 0;
    for (uint64_t start = 0; start < layout_.log_size; start += kWindowSize) {
        const uint64_t length = std::min(kWindowSize, layout_.log_size - start);
        const Result<const std::byte*> bytes = co_await window(start, length);
        if (!bytes.ok()) co_return bytes.error();
        for (uint64_t at = 0; at < length; at += kBlockSize) {
            const std::span<const std::byte> block(bytes.value() + at, kBlockSize);
            const auto& header = *reinterpret_cast<const BatchHeader*>(block.data());
            if (header.magic != kBatchMagic || header.epoch_id != epoch_id) continue;
            if (batch_header_fault(block, volume_, layout_.volume_blocks()) != nullptr) continue;
            highest = std::max(highest, header.stable_point.get());
        }
    }
    co_return highest;
}

Task<Result<const std::byte*>> LogReader::window(uint64_t offset, uint64_t length) {
    const bool inside =
        window_ && offset >= window_start_ && offset + length <= window_start_ + window_length_;
    if (!inside) {
        if (!window_) window_ = allocate_aligned(kWindowSize);
        window_start_ = offset;
        window_length_ = std::min(kWindowSize, layout_.log_size - offset);
        const Status status =
            co_await disk_.read(kLogOffset + offset, {window_.get(), window_length_});
        if (!status.ok()) {
            window_length_ = 0;
            co_return status.error();
        }
    }
    co_return window_.get() + (offset - window_start_);
}

}  // namespace gemel::blockdev
