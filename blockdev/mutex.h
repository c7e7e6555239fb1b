// SPDX-License-Identifier: Apache-2.0
//
// Mutex: work that suspends and must not be mixed with other work of its kind. For one loop.
//     co_await mutex.lock(); ...; mutex.unlock();
#pragma once

#include "blockdev/assert.h"
#include "blockdev/event.h"
#include "blockdev/task.h"

namespace gemel {

class Mutex {
public:
    explicit Mutex(Loop& loop) : free_(loop) {}

    Task<void> lock() {
        while (locked_) co_await free_.wait();
        locked_ = true;
    }
    void unlock() {
        CHECK(locked_);
        locked_ = false;
        free_.notify_all();
    }
    bool locked() const { return locked_; }

private:
    bool locked_ = false;
    Event free_;
};

}  // namespace gemel
