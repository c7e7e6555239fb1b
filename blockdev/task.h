// SPDX-License-Identifier: Apache-2.0
//
// Task<T>: a lazy coroutine that is awaited once, or started in a Scope.
//
// Awaiting starts the child on the caller's stack; if it finishes without suspending the caller
// goes on at once. There is no symmetric transfer: GCC 12 overflows the stack with it at -O0, -O1
// and under AddressSanitizer. A child that finishes later resumes its caller as its last act, so
// the stack grows with the depth of the call chain, never with the number of iterations.
//
// Rules for writing tasks: parameters are values, spans the caller keeps alive until the task
// ends, or references to objects that outlive it. No lambda coroutines; nothing that captures is
// created inside a co_await expression (GCC 12 destroys such temporaries twice).
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "blockdev/assert.h"
#include "blockdev/event.h"

namespace gemel {

class Scope;

namespace task_detail {

struct PromiseBase {
    std::coroutine_handle<> awaiter;  // Who awaits us; null until it had to suspend.
    Scope* scope = nullptr;           // Set if started in a scope: then nobody awaits.

    std::suspend_always initial_suspend() noexcept { return {}; }

    struct FinalAwaiter {
        bool await_ready() noexcept { return false; }
        template <typename P>
        void await_suspend(std::coroutine_handle<P> self) noexcept {
            finish(self, self.promise());
        }
        void await_resume() noexcept {}
    };
    FinalAwaiter final_suspend() noexcept { return {}; }
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }

    // Destroys the frame if it belongs to a scope, else resumes whoever awaits it.
    static void finish(std::coroutine_handle<> self, PromiseBase& promise) noexcept;
};

template <typename T>
struct Promise : PromiseBase {
    std::optional<T> value;
    std::coroutine_handle<Promise> get_return_object() {
        return std::coroutine_handle<Promise>::from_promise(*this);
    }
    template <typename U>
    void return_value(U&& result) {
        value.emplace(std::forward<U>(result));
    }
    T take() {
        CHECK(value.has_value());
        return std::move(*value);
    }
};

template <>
struct Promise<void> : PromiseBase {
    std::coroutine_handle<Promise> get_return_object() {
        return std::coroutine_handle<Promise>::from_promise(*this);
    }
    void return_void() {}
    void take() {}
};

}  // namespace task_detail

template <typename T = void>
class [[nodiscard]] Task {
public:
    using promise_type = task_detail::Promise<T>;

    Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
    Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        // Destroying a suspended frame would free memory the kernel may still write to.
        if (handle_) {
            CHECK(handle_.done() || !started_);
            handle_.destroy();
        }
    }

    class Awaiter {
    public:
        explicit Awaiter(std::coroutine_handle<promise_type> child) : child_(child) {}
        bool await_ready() {
            child_.resume();
            return child_.done();
        }
        void await_suspend(std::coroutine_handle<> parent) { child_.promise().awaiter = parent; }
        T await_resume() { return child_.promise().take(); }

    private:
        std::coroutine_handle<promise_type> child_;
    };
    Awaiter operator co_await() && {
        CHECK(handle_ && !started_);
        started_ = true;
        return Awaiter(handle_);
    }

private:
    friend class Scope;
    std::coroutine_handle<promise_type> handle_;
    bool started_ = false;
};

// Background work that must have ended before its owner does. Not destructible while anything
// runs in it: close the source of the work, then co_await join().
class Scope {
public:
    explicit Scope(Loop& loop) : idle_(loop) {}
    ~Scope() { CHECK(running_ == 0); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    // Runs `task` until it first suspends; the loop takes it from there.
    void start(Task<void> task) {
        auto handle = std::exchange(task.handle_, nullptr);
        handle.promise().scope = this;
        ++running_;
        handle.resume();
    }

    Task<void> join() {
        while (running_ != 0) co_await idle_.wait();
    }

    size_t running() const { return running_; }

private:
    friend struct task_detail::PromiseBase;
    void finished() {
        if (--running_ == 0) idle_.notify_all();
    }

    size_t running_ = 0;
    Event idle_;
};

inline void task_detail::PromiseBase::finish(std::coroutine_handle<> self,
                                             PromiseBase& promise) noexcept {
    if (Scope* scope = promise.scope; scope != nullptr) {
        self.destroy();
        scope->finished();
    } else if (std::coroutine_handle<> awaiter = promise.awaiter; awaiter) {
        awaiter.resume();  // May destroy `self`; nothing of it is touched afterwards.
    }
}

}  // namespace gemel
