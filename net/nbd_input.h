// SPDX-License-Identifier: Apache-2.0
//
// NbdInput: what has been received and not been looked at yet. It lies in a chunk of memory; a
// write whose payload lies there as a whole is carried out from it, and pins the chunk meanwhile.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "net/nbd_budget.h"

namespace gemel::net {

class NbdChunk {
public:
    explicit NbdChunk(NbdBuffer buffer) : buffer_(std::move(buffer)) {}
    std::span<std::byte> memory() const { return buffer_.span(); }
    bool shared() const { return pins_ > 1; }

private:
    friend class NbdPin;
    NbdBuffer buffer_;
    size_t pins_ = 0;
};

// Keeps a chunk alive.
class NbdPin {
public:
    NbdPin() = default;
    explicit NbdPin(NbdChunk* chunk) : chunk_(chunk) {
        if (chunk_ != nullptr) ++chunk_->pins_;
    }
    NbdPin(const NbdPin& other) : NbdPin(other.chunk_) {}
    NbdPin(NbdPin&& other) noexcept : chunk_(std::exchange(other.chunk_, nullptr)) {}
    NbdPin& operator=(NbdPin other) noexcept {
        std::swap(chunk_, other.chunk_);
        return *this;
    }
    ~NbdPin() {
        if (chunk_ != nullptr && --chunk_->pins_ == 0) delete chunk_;
    }
    NbdChunk* operator->() const { return chunk_; }

private:
    NbdChunk* chunk_ = nullptr;
};

class NbdInput {
public:
    // Brings the requests of a deep queue with one receive, and stays within a second-level cache.
    static constexpr size_t kChunkBytes = 128 << 10;
    // A chunk's end shorter than this is not worth a receive.
    static constexpr size_t kReceiveBytesMin = 16 << 10;

    explicit NbdInput(NbdBuffer first) : chunk_(new NbdChunk(std::move(first))) {}

    std::span<const std::byte> unread() const {
        return chunk_->memory().subspan(begin_, end_ - begin_);
    }
    void consume(size_t bytes) { begin_ += bytes; }
    NbdPin pin() const { return chunk_; }

    // Makes room so that `wanted` unread bytes (at most kChunkBytes) fit in one piece. False if
    // that takes another chunk, because requests still use this one: then call replace().
    bool make_room(size_t wanted);
    void replace(NbdBuffer next);

    // Where to receive to, and that it happened.
    std::span<std::byte> room() const { return chunk_->memory().subspan(end_); }
    void received(size_t bytes) { end_ += bytes; }

private:
    NbdPin chunk_;
    size_t begin_ = 0;
    size_t end_ = 0;
};

}  // namespace gemel::net
