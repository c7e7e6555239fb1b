// SPDX-License-Identifier: Apache-2.0
#include "blockdev/log_reader.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace gemel::blockdev {

Task<Result<LogReader::Found>> LogReader::next(uint64_t head, ChainLink link) {
    Result<Found> here = Found{};
    if (head + kBlockSize <= layout_.log_size) {
        here = co_await at(head, link);
        if (here.ok() && here.value().batch) co_return here;
    }
    // It may not have fitted before the ring's end. (At 0 itself there is nothing else to try.)
    if (head != 0 && head + kMaximumBatchSize > layout_.log_size) {
        const Result<Found> wrapped = co_await at(0, link);
        if (!wrapped.ok() || wrapped.value().batch) co_return wrapped;
    }
    co_return here;
}

Task<Result<LogReader::Found>> LogReader::at(uint64_t offset, ChainLink link) {
    Result<const std::byte*> block = co_await window(offset, kBlockSize);
    if (!block.ok()) co_return block.error();
    const std::span<const std::byte> header_block(block.value(), kBlockSize);
    if (batch_header_fault(header_block, volume_, layout_.volume_blocks()) != nullptr) {
        co_return Found{};
    }
    const auto& header = *reinterpret_cast<const BatchHeader*>(header_block.data());
    const uint32_t payload_blocks = header.payload_blocks;
    const uint64_t size = (1 + uint64_t{payload_blocks}) * kBlockSize;
    if (!link.accepts(header) || offset + size > layout_.log_size) co_return Found{};

    // It may have been read anew: then the header need not be the one that was looked at.
    Result<const std::byte*> whole = co_await window(offset, size);
    if (!whole.ok()) co_return whole.error();
    const std::span<const std::byte> again(whole.value(), kBlockSize);
    if (batch_header_fault(again, volume_, layout_.volume_blocks()) != nullptr) co_return Found{};
    const auto& found = *reinterpret_cast<const BatchHeader*>(again.data());
    if (!link.accepts(found) || found.payload_blocks != payload_blocks) co_return Found{};
    if (batch_payload_fault({whole.value(), size}, hasher_) != nullptr) co_return Found{};
    BufferPool::Buffer copy = pool_.take(size);
    std::memcpy(copy.get(), whole.value(), size);
    co_return Found{Batch::adopt(std::move(copy)), offset};
}

// What cannot be read is halved until only the bad blocks are left out: they know nothing.
template <typename Look>
Task<Status> LogReader::for_each_header(Look look) {
    struct Piece {
        uint64_t offset;
        uint64_t length;
    };
    size_t failures = 0;
    for (uint64_t start = 0; start < layout_.log_size; start += kWindowSize) {
        std::vector<Piece> pieces{{start, std::min(kWindowSize, layout_.log_size - start)}};
        while (!pieces.empty()) {
            const Piece piece = pieces.back();
            pieces.pop_back();
            const Status status = co_await load(piece.offset, piece.length);
            if (!status.ok()) {
                if (++failures > kFailuresMax) co_return status.error();
                if (piece.length == kBlockSize) continue;
                const uint64_t half = round_up(piece.length / 2, kBlockSize);
                pieces.push_back({piece.offset, half});
                pieces.push_back({piece.offset + half, piece.length - half});
                continue;
            }
            for (uint64_t at = 0; at < window_length_; at += kBlockSize) {
                const std::span<const std::byte> block(window_.get() + at, kBlockSize);
                const auto& header = *reinterpret_cast<const BatchHeader*>(block.data());
                if (header.magic != kBatchMagic) continue;
                if (batch_header_fault(block, volume_, layout_.volume_blocks()) != nullptr)
                    continue;
                look(block);
            }
        }
    }
    co_return Status::success();
}

Task<Result<uint64_t>> LogReader::highest_stable_point(Uuid epoch_id) {
    uint64_t highest = 0;
    const auto look = [&highest, epoch_id](std::span<const std::byte> block) {
        const auto& header = *reinterpret_cast<const BatchHeader*>(block.data());
        if (header.epoch_id == epoch_id) highest = std::max(highest, header.stable_point.get());
    };
    const Status status = co_await for_each_header(look);
    if (!status.ok()) co_return status.error();
    co_return highest;
}

Task<Result<std::vector<uint64_t>>> LogReader::pages_in_log(uint64_t after) {
    std::set<uint64_t> pages;
    const auto look = [&pages, after](std::span<const std::byte> block) {
        const auto& header = *reinterpret_cast<const BatchHeader*>(block.data());
        if (header.first_sequence + header.entries <= after + 1) return;
        const auto* entries = reinterpret_cast<const LogEntry*>(block.data() + sizeof(BatchHeader));
        for (unsigned i = 0; i < header.entries; ++i) {
            if (entries[i].block_count == 0) continue;
            const uint64_t last = entries[i].first_block + entries[i].block_count - 1;
            for (uint64_t page = entries[i].first_block / kPageBlocks; page <= last / kPageBlocks;
                 ++page) {
                pages.insert(page);
            }
        }
    };
    const Status status = co_await for_each_header(look);
    if (!status.ok()) co_return status.error();
    co_return std::vector<uint64_t>(pages.begin(), pages.end());
}

Task<Result<const std::byte*>> LogReader::window(uint64_t offset, uint64_t length) {
    const bool inside =
        window_ && offset >= window_start_ && offset + length <= window_start_ + window_length_;
    if (!inside) {
        const uint64_t ahead = std::min(kWindowSize, layout_.log_size - offset);
        Status status = co_await load(offset, ahead);
        // Perhaps what cannot be read is not what is wanted.
        if (!status.ok() && length < ahead) status = co_await load(offset, length);
        if (!status.ok()) co_return status.error();
    }
    co_return window_.get() + (offset - window_start_);
}

Task<Status> LogReader::load(uint64_t offset, uint64_t length) {
    if (!window_) window_ = allocate_aligned(kWindowSize);
    const Status status = co_await disk_.read(kLogOffset + offset, {window_.get(), length});
    window_start_ = offset;
    window_length_ = status.ok() ? length : 0;
    co_return status;
}

}  // namespace gemel::blockdev
