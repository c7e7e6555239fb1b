// SPDX-License-Identifier: Apache-2.0
//
// UringEnv: the seam on a real kernel. One io_uring per reactor (single issuer, deferred task run),
// one io_uring_enter per turn: everything a turn prepared is submitted together with the wait for
// what comes next.
#pragma once

#include <liburing.h>

#include <initializer_list>
#include <memory>

#include "blockdev/env.h"

namespace gemel {

// One kernel operation in flight. `complete` runs while completions are reaped: it records the
// outcome and posts continuations, and resumes nothing itself.
struct UringCompletion {
    void (*complete)(UringCompletion& self, int32_t result, uint32_t flags) = nullptr;
};

struct UringOptions {
    unsigned entries = 1024;
    void (*log_sink)(LogLevel level, std::string_view text) = nullptr;  // Null: standard error.
};

class UringEnv final : public Env {
public:
    // Fails with a sentence that names what the kernel lacks.
    static Outcome<std::unique_ptr<UringEnv>> create(UringOptions options);
    ~UringEnv() override;

    // Starts `main` and runs the loop until it has ended.
    void run(Task<void> main);

    // For implementations: an entry of the submission queue, to be prepared at once by one of the
    // io_uring_prep_ functions. Its completion goes to `completion`, which must stay where it is.
    io_uring_sqe* get_sqe(UringCompletion& completion);

    // For implementations: how many of the kernel's workers, more or less than so far, may wait at
    // a time. Requests that hang keep theirs, and it is from these few that everybody's flushes
    // come.
    void change_workers(int by);

    // Keeps these signals from killing the process; call before any thread starts.
    static void block_signals(std::initializer_list<int> signals);
    // The next blocked signal that arrives. One waiter at a time.
    Task<Result<int>> next_signal(std::initializer_list<int> signals);

    uint64_t now_ns() const override;
    uint64_t wall_clock_s() const override;
    uint64_t random_u64() override;
    void log(LogLevel level, std::string_view text) override;
    ProcessId this_process() const override;
    bool is_alive(const ProcessId& process) const override;
    Outcome<std::unique_ptr<Disk>> open_disk(const std::string& path, DiskOptions options) override;
    Status remove_file(const std::string& path) override;
    Result<std::vector<std::byte>> read_file(const std::string& path, size_t limit) override;
    Status replace_file(const std::string& path, std::span<const std::byte> data) override;
    Outcome<std::unique_ptr<Listener>> listen(const Address& address) override;
    Task<Result<std::unique_ptr<Stream>>> connect(Address address) override;

private:
    explicit UringEnv(UringOptions options) : options_(options) {}
    void submit_and_wait();
    void reap();
    Task<void> run_main(Task<void> main);

    UringOptions options_;
    io_uring ring_{};
    bool ring_ready_ = false;
    bool stopped_ = false;
};

// Awaits one operation prepared on a submission queue entry:
//     UringAwait wait; io_uring_prep_accept(env.get_sqe(wait), ...); int32_t n = co_await wait;
class UringAwait : public UringCompletion {
public:
    explicit UringAwait(Loop& loop) : loop_(loop) {
        complete = [](UringCompletion& self, int32_t result, uint32_t) {
            auto& wait = static_cast<UringAwait&>(self);
            wait.result_ = result;
            wait.loop_.post(wait.done_);
        };
    }
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) { done_.resumes(handle); }
    int32_t await_resume() const { return result_; }

private:
    Loop& loop_;
    Continuation done_;
    int32_t result_ = 0;
};

}  // namespace gemel
