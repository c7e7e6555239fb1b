// SPDX-License-Identifier: Apache-2.0
//
// Requests that share a block are served in the order in which they arrived: readers side by side,
// a writer alone. So a partial write reads a base nobody changes, a read never meets a write that
// is not committed, and what a read fetches from home stays where it is meanwhile.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>

#include "blockdev/loop.h"

namespace gemel::mirror {

class RangeLock {
public:
    explicit RangeLock(Loop& loop) : loop_(loop) {}
    ~RangeLock() { CHECK(first_ == nullptr); }
    RangeLock(const RangeLock&) = delete;
    RangeLock& operator=(const RangeLock&) = delete;

    enum class Mode : uint8_t { shared, exclusive };

    // Stands in line from its construction on; co_await it before touching the blocks. Leaves the
    // line when it is destroyed.
    class Hold {
    public:
        Hold(RangeLock& lock, uint64_t first_block, uint64_t end_block, Mode mode);
        ~Hold();
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

        bool await_ready() const { return granted_; }
        void await_suspend(std::coroutine_handle<> handle) { wake_.resumes(handle); }
        void await_resume() const {}

    private:
        friend class RangeLock;
        bool conflicts_with(const Hold& earlier) const {
            return first_block_ < earlier.end_block_ && earlier.first_block_ < end_block_ &&
                   (mode_ == Mode::exclusive || earlier.mode_ == Mode::exclusive);
        }

        RangeLock& lock_;
        uint64_t first_block_;
        uint64_t end_block_;
        Mode mode_;
        bool granted_ = false;
        Continuation wake_;
        Hold* previous_ = nullptr;
        Hold* next_ = nullptr;
    };

    bool idle() const { return first_ == nullptr; }

private:
    bool may_go(const Hold& hold) const;
    void wake_waiters(const Hold* from);

    Loop& loop_;
    Hold* first_ = nullptr;  // In order of arrival.
    Hold* last_ = nullptr;
    size_t waiting_ = 0;
};

}  // namespace gemel::mirror
