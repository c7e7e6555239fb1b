// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_budget.h"

#include <algorithm>
#include <utility>

#include "blockdev/assert.h"

namespace gemel::net {

namespace {

constexpr uint64_t kShortageCheckNs = kSecond;
// Beyond this a buffer's page faults cost little beside what is done with it: it is not pooled.
constexpr size_t kPooledBytesMax = 2 << 20;

}  // namespace

void NbdBudget::wake_first() {
    if (!waiting_.empty()) waiting_.front()->room_.notify_all();
}

bool NbdAccount::try_take(uint64_t bytes) {
    if (closed_ || !fits(bytes) || !budget_.fits(bytes) || !budget_.waiting_.empty()) return false;
    charge(bytes);
    return true;
}

void NbdAccount::charge(uint64_t bytes) {
    used_bytes_ += bytes;
    budget_.used_bytes_ += bytes;
}

Task<bool> NbdAccount::take(uint64_t bytes) {
    CHECK(bytes <= limit_bytes_);
    CHECK(bytes <= budget_.limit_bytes_);
    while (!closed_ && !fits(bytes)) co_await room_.wait();
    if (try_take(bytes)) co_return true;
    if (closed_) co_return false;
    co_return co_await wait_in_line(bytes);
}

Task<bool> NbdAccount::wait_in_line(uint64_t bytes) {
    budget_.waiting_.push_back(this);
    while (!closed_ && (budget_.waiting_.front() != this || !budget_.fits(bytes))) {
        const bool notified = co_await room_.wait_until(budget_.env_.now_ns() + kShortageCheckNs);
        if (!notified && budget_.callback_ != nullptr) budget_.callback_(budget_.context_);
    }
    std::erase(budget_.waiting_, this);
    // Only this task takes from the account, so its own limit still holds.
    if (!closed_) charge(bytes);
    budget_.wake_first();
    co_return !closed_;
}

void NbdAccount::give(uint64_t bytes) {
    CHECK(bytes <= used_bytes_);
    used_bytes_ -= bytes;
    budget_.used_bytes_ -= bytes;
    if (room_.has_waiters()) room_.notify_all();
    budget_.wake_first();
}

void NbdAccount::close() {
    closed_ = true;
    room_.notify_all();
}

NbdBuffer::NbdBuffer(blockdev::BufferPool& pool, NbdAccount& account, size_t size, uint64_t charged)
    : size_(size), charged_(charged), account_(&account) {
    if (size <= kPooledBytesMax) {
        pooled_ = pool.take(size);
        data_ = pooled_.get();
    } else {
        large_ = allocate_aligned(round_up(size, kIoAlignment));
        data_ = large_.get();
    }
}

NbdBuffer::NbdBuffer(NbdBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      charged_(std::exchange(other.charged_, 0)),
      account_(std::exchange(other.account_, nullptr)),
      pooled_(std::move(other.pooled_)),
      large_(std::move(other.large_)) {}

NbdBuffer& NbdBuffer::operator=(NbdBuffer&& other) noexcept {
    if (this == &other) return *this;
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    charged_ = std::exchange(other.charged_, 0);
    account_ = std::exchange(other.account_, nullptr);
    pooled_ = std::move(other.pooled_);
    large_ = std::move(other.large_);
    return *this;
}

void NbdBuffer::release() {
    pooled_.reset();
    large_.reset();
    if (charged_ != 0) account_->give(std::exchange(charged_, 0));
    data_ = nullptr;
    size_ = 0;
}

uint64_t buffer_charge(size_t size) {
    const uint64_t pages = round_up(size, kIoAlignment);
    return size <= kPooledBytesMax ? pages + pages / 4 : pages;
}

}  // namespace gemel::net
