// SPDX-License-Identifier: Apache-2.0
//
// Event: a condition variable for one loop. Waiters re-check their condition in a loop:
//     while (!ready) co_await event.wait();
// A notification wakes those who wait at that moment and is not remembered.
#pragma once

#include <coroutine>
#include <cstdint>

#include "blockdev/loop.h"

namespace gemel {

class Event {
public:
    explicit Event(Loop& loop) : loop_(loop) {}
    ~Event() { CHECK(first_ == nullptr); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    class Waiter {
    public:
        Waiter(Event& event, uint64_t deadline_ns) : event_(event), deadline_ns_(deadline_ns) {}
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> handle);
        // True if notified, false if the deadline came first.
        bool await_resume() const { return notified_; }

    private:
        friend class Event;
        static void on_deadline(void* waiter);

        Event& event_;
        uint64_t deadline_ns_;
        Continuation wake_;
        Timer timer_;
        Waiter* next_ = nullptr;
        Waiter* previous_ = nullptr;
        bool notified_ = false;
    };

    Waiter wait() { return {*this, UINT64_MAX}; }
    Waiter wait_until(uint64_t deadline_ns) { return {*this, deadline_ns}; }

    // Wakes all, in the order in which they came.
    void notify_all();
    bool has_waiters() const { return first_ != nullptr; }

private:
    void remove(Waiter& waiter);

    Loop& loop_;
    Waiter* first_ = nullptr;
    Waiter* last_ = nullptr;
};

}  // namespace gemel
