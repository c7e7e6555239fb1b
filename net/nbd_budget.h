// SPDX-License-Identifier: Apache-2.0
//
// Bounds on memory: a budget for the whole server, an account for each connection, and buffers that
// carry their charge with them. A connection that finds no room stops reading its socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "blockdev/buffer_pool.h"
#include "blockdev/env.h"
#include "blockdev/event.h"
#include "blockdev/task.h"

namespace gemel::net {

class NbdAccount;

// Bytes that all connections together may hold. Those who wait are served in the order in which
// they came, so that a large request is not starved by small ones.
class NbdBudget {
public:
    NbdBudget(Env& env, uint64_t limit_bytes) : env_(env), limit_bytes_(limit_bytes) {}

    // Called about once a second while somebody waits; `context` is passed on.
    void on_shortage(void (*callback)(void*), void* context) {
        callback_ = callback;
        context_ = context;
    }
    uint64_t used_bytes() const { return used_bytes_; }

private:
    friend class NbdAccount;
    bool fits(uint64_t bytes) const { return bytes <= limit_bytes_ - used_bytes_; }
    void wake_first();

    Env& env_;
    uint64_t limit_bytes_;
    uint64_t used_bytes_ = 0;
    std::deque<NbdAccount*> waiting_;
    void (*callback_)(void*) = nullptr;
    void* context_ = nullptr;
};

// What one connection holds. One task at a time may wait in take(). A single charge may not exceed
// either limit.
class NbdAccount {
public:
    NbdAccount(NbdBudget& budget, uint64_t limit_bytes)
        : budget_(budget), limit_bytes_(limit_bytes), room_(budget.env_) {}
    ~NbdAccount() { CHECK(used_bytes_ == 0); }

    // True if there was room at once.
    bool try_take(uint64_t bytes);
    // Waits for room; false once the account is closed.
    Task<bool> take(uint64_t bytes);
    void give(uint64_t bytes);
    // Nobody waits any longer; what is held is given back by its holders.
    void close();

    uint64_t used_bytes() const { return used_bytes_; }

private:
    friend class NbdBudget;
    bool fits(uint64_t bytes) const { return bytes <= limit_bytes_ - used_bytes_; }
    void charge(uint64_t bytes);
    Task<bool> wait_in_line(uint64_t bytes);

    NbdBudget& budget_;
    uint64_t limit_bytes_;
    uint64_t used_bytes_ = 0;
    bool closed_ = false;
    Event room_;
};

// Aligned memory and its charge. Empty when default-made or moved from.
class NbdBuffer {
public:
    NbdBuffer() = default;
    // `charged` bytes were taken from `account` for it; they go back with it. Both outlive it.
    NbdBuffer(blockdev::BufferPool& pool, NbdAccount& account, size_t size, uint64_t charged);
    NbdBuffer(NbdBuffer&& other) noexcept;
    NbdBuffer& operator=(NbdBuffer&& other) noexcept;
    ~NbdBuffer() { release(); }

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    std::span<std::byte> span() const { return {data_, size_}; }

private:
    void release();

    std::byte* data_ = nullptr;
    size_t size_ = 0;
    uint64_t charged_ = 0;
    NbdAccount* account_ = nullptr;
    blockdev::BufferPool::Buffer pooled_;
    AlignedBytes large_;
};

// What a buffer of `size` bytes is charged: whole pages, and the pool's rounding.
uint64_t buffer_charge(size_t size);

}  // namespace gemel::net
