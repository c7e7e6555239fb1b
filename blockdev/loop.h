// SPDX-License-Identifier: Apache-2.0
//
// What every event loop has, real or simulated: a list of what is ready to run, timers, and hooks
// for the end of a turn. Single-threaded; nothing here locks. Only the loop resumes coroutines:
// whoever finds that something is complete posts its continuation and returns.
#pragma once

#include <coroutine>
#include <cstdint>
#include <map>

#include "blockdev/assert.h"

namespace gemel {

// Something to be run by the loop, embedded in the object that waits. `run` is called exactly once
// per post, with `context` as the owner left it.
struct Continuation {
    void (*run)(void* context) = nullptr;
    void* context = nullptr;
    Continuation* next = nullptr;

    void resumes(std::coroutine_handle<> handle) {
        context = handle.address();
        run = [](void* frame) { std::coroutine_handle<>::from_address(frame).resume(); };
    }
};

// Calls back once at a moment of the loop's clock. Disarmed by its owner, or fires; it must outlive
// either.
class Timer {
public:
    Continuation continuation;

    bool armed() const { return armed_; }

private:
    friend class Loop;
    bool armed_ = false;
    std::multimap<uint64_t, Timer*>::iterator place_;
};

class Loop {
public:
    Loop() = default;
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    virtual ~Loop() = default;

    // Nanoseconds on a clock that never goes back; its origin means nothing.
    virtual uint64_t now_ns() const = 0;

    // Queues `continuation` behind everything that is ready already.
    void post(Continuation& continuation) {
        continuation.next = nullptr;
        *ready_tail_ = &continuation;
        ready_tail_ = &continuation.next;
    }

    // Queues `hook` to run when nothing else is ready any more, before the loop waits for I/O: the
    // place where work gathered during a turn is sent off together.
    void at_turn_end(Continuation& hook) {
        hook.next = nullptr;
        *hooks_tail_ = &hook;
        hooks_tail_ = &hook.next;
    }

    void arm(Timer& timer, uint64_t deadline_ns);
    // Does nothing to a timer that is not armed.
    void disarm(Timer& timer);

protected:
    // Runs what is ready, then the hooks, until there is neither.
    void run_ready();
    bool has_ready() const { return ready_head_ != nullptr || hooks_head_ != nullptr; }
    // Posts every timer that is due at `now`.
    void expire_timers(uint64_t now);
    // UINT64_MAX if there is none.
    uint64_t next_deadline_ns() const;

private:
    Continuation* ready_head_ = nullptr;
    Continuation** ready_tail_ = &ready_head_;
    Continuation* hooks_head_ = nullptr;
    Continuation** hooks_tail_ = &hooks_head_;
    // Equal deadlines fire in the order of arming, which keeps simulated runs repeatable.
    std::multimap<uint64_t, Timer*> timers_;
};

// co_await sleep_until(loop, t)
class SleepUntil {
public:
    SleepUntil(Loop& loop, uint64_t deadline_ns) : loop_(loop), deadline_ns_(deadline_ns) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        timer_.continuation.resumes(handle);
        loop_.arm(timer_, deadline_ns_);
    }
    void await_resume() const {}

private:
    Loop& loop_;
    uint64_t deadline_ns_;
    Timer timer_;
};
inline SleepUntil sleep_until(Loop& loop, uint64_t deadline_ns) { return {loop, deadline_ns}; }
inline SleepUntil sleep_for(Loop& loop, uint64_t duration_ns) {
    return {loop, loop.now_ns() + duration_ns};
}

// co_await yield(loop): lets everything else that is ready run first.
class Yield {
public:
    explicit Yield(Loop& loop) : loop_(loop) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        continuation_.resumes(handle);
        loop_.post(continuation_);
    }
    void await_resume() const {}

private:
    Loop& loop_;
    Continuation continuation_;
};
inline Yield yield(Loop& loop) { return Yield(loop); }

inline constexpr uint64_t kMicrosecond = 1'000;
inline constexpr uint64_t kMillisecond = 1'000'000;
inline constexpr uint64_t kSecond = 1'000'000'000;

}  // namespace gemel
