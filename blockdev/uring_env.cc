// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_env.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "blockdev/process.h"
#include "blockdev/uring_disk.h"
#include "blockdev/uring_stream.h"

namespace gemel {

namespace {

uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    CHECK(clock_gettime(clock, &now) == 0);
    return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

Problem ring_problem(int error) {
    if (error == EPERM || error == EACCES) {
        return {Errc::permission,
                "io_uring is not permitted here; see sysctl kernel.io_uring_disabled, and the "
                "seccomp profile if this is a container"};
    }
    if (error == ENOMEM) {
        return {Errc::no_space,
                "io_uring cannot lock enough memory; raise RLIMIT_MEMLOCK (ulimit -l)"};
    }
    return {Errc::unsupported,
            std::string("this kernel lacks what Gemel needs of io_uring (single issuer with "
                        "deferred task run: Linux 6.1 or newer): ") +
                std::strerror(error)};
}

sigset_t signal_set(std::initializer_list<int> signals) {
    sigset_t set;
    sigemptyset(&set);
    for (int number : signals) sigaddset(&set, number);
    return set;
}

}  // namespace

Outcome<std::unique_ptr<UringEnv>> UringEnv::create(UringOptions options) {
    std::unique_ptr<UringEnv> env(new UringEnv(options));
    io_uring_params params{};
    params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                   IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
    params.cq_entries = options.entries * 8;
    const int error = io_uring_queue_init_params(options.entries, &env->ring_, &params);
    if (error < 0) return ring_problem(-error);
    env->ring_ready_ = true;
    return env;
}

UringEnv::~UringEnv() {
    if (ring_ready_) io_uring_queue_exit(&ring_);
}

Task<void> UringEnv::run_main(Task<void> main) {
    co_await std::move(main);
    stopped_ = true;
}

void UringEnv::run(Task<void> main) {
    stopped_ = false;
    Scope scope(*this);
    scope.start(run_main(std::move(main)));
    while (true) {
        run_ready();
        if (stopped_) break;
        submit_and_wait();
        reap();
        expire_timers(now_ns());
    }
    CHECK(scope.running() == 0);
}

io_uring_sqe* UringEnv::get_sqe(UringCompletion& completion) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    while (sqe == nullptr) {
        // The queue is full: hand over what is in it. Completions are not reaped here.
        const int submitted = io_uring_submit(&ring_);
        CHECK(submitted >= 0 || submitted == -EAGAIN || submitted == -EBUSY || submitted == -EINTR);
        sqe = io_uring_get_sqe(&ring_);
    }
    // The prep functions do not touch user_data; liburing 2.3 clears it in none of them.
    io_uring_sqe_set_data(sqe, &completion);
    return sqe;
}

void UringEnv::change_workers(int by) {
    unsigned limits[2] = {0, 0};  // For files and block devices; for all else. 0 only asks.
    if (io_uring_register_iowq_max_workers(&ring_, limits) != 0 || limits[0] == 0) return;
    unsigned changed[2] = {limits[0] + static_cast<unsigned>(by), 0};
    static_cast<void>(io_uring_register_iowq_max_workers(&ring_, changed));
}

void UringEnv::submit_and_wait() {
    const uint64_t deadline = next_deadline_ns();
    const uint64_t now = deadline == UINT64_MAX ? 0 : now_ns();
    const uint64_t wait = deadline > now ? deadline - now : 0;
    __kernel_timespec timeout{};
    timeout.tv_sec = static_cast<long long>(wait / kSecond);
    timeout.tv_nsec = static_cast<long long>(wait % kSecond);
    io_uring_cqe* first = nullptr;
    const int result = io_uring_submit_and_wait_timeout(
        &ring_, &first, 1, deadline == UINT64_MAX ? nullptr : &timeout, nullptr);
    // ETIME: a timer is due. EINTR: a debugger or a stop signal. EAGAIN, EBUSY: the kernel is short
    // of memory or completions wait to be reaped; both pass.
    CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
          result == -EBUSY);
}

void UringEnv::reap() {
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring_, head, cqe) {
        ++count;
        auto* completion = static_cast<UringCompletion*>(io_uring_cqe_get_data(cqe));
        if (completion != nullptr) completion->complete(*completion, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&ring_, count);
}

void UringEnv::block_signals(std::initializer_list<int> signals) {
    const sigset_t set = signal_set(signals);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
}

Task<Result<int>> UringEnv::next_signal(std::initializer_list<int> signals) {
    const sigset_t set = signal_set(signals);
    const int descriptor = signalfd(-1, &set, SFD_CLOEXEC);
    if (descriptor < 0) co_return error_from_errno(errno, "signalfd");
    signalfd_siginfo info{};
    UringAwait wait(*this);
    io_uring_prep_read(get_sqe(wait), descriptor, &info, sizeof info, 0);
    const int32_t result = co_await wait;
    close(descriptor);
    if (result < 0) co_return error_from_errno(-result, "waiting for a signal");
    co_return static_cast<int>(info.ssi_signo);
}

uint64_t UringEnv::now_ns() const { return clock_ns(CLOCK_MONOTONIC); }

uint64_t UringEnv::wall_clock_s() const { return clock_ns(CLOCK_REALTIME) / kSecond; }

uint64_t UringEnv::random_u64() {
    uint64_t value = 0;
    CHECK(getrandom(&value, sizeof value, 0) == sizeof value);
    return value;
}

void UringEnv::log(LogLevel level, std::string_view text) {
    if (options_.log_sink != nullptr) return options_.log_sink(level, text);
    std::fprintf(stderr, "gemel: %.*s\n", static_cast<int>(text.size()), text.data());
}

ProcessId UringEnv::this_process() const { return current_process(); }

bool UringEnv::is_alive(const ProcessId& process) const { return process_is_alive(process); }

Outcome<std::unique_ptr<Disk>> UringEnv::open_disk(const std::string& path, DiskOptions options) {
    return UringDisk::open(*this, path, options);
}

Status UringEnv::remove_file(const std::string& path) {
    if (unlink(path.c_str()) != 0) return error_from_errno(errno, "unlink");
    return Status::success();
}

Result<std::vector<std::byte>> UringEnv::read_file(const std::string& path, size_t limit) {
    // Not blocking: a named pipe in place of the file must not hang us.
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return error_from_errno(errno, "open");
    struct stat info{};
    if (fstat(descriptor, &info) == 0 && !S_ISREG(info.st_mode)) {
        close(descriptor);
        return Error{Errc::invalid, 0, "is not a regular file"};
    }
    std::vector<std::byte> data(limit + 1);
    size_t length = 0;
    while (length < data.size()) {
        const ssize_t n = ::read(descriptor, data.data() + length, data.size() - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const Error error = error_from_errno(errno, "read");
            close(descriptor);
            return error;
        }
        if (n == 0) break;
        length += static_cast<size_t>(n);
    }
    close(descriptor);
    if (length > limit) return Error{Errc::corrupt, 0, "the file is longer than it can be"};
    data.resize(length);
    return data;
}

namespace {

Status sync_and_close(int descriptor, bool ok) {
    const bool synced = ok && fsync(descriptor) == 0;
    const int error = errno;
    if (close(descriptor) != 0 || !synced) return error_from_errno(error, "fsync");
    return Status::success();
}

Status sync_folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return error_from_errno(errno, "open the folder");
    return sync_and_close(descriptor, true);
}

}  // namespace

// Write a new file, make it durable, rename it over the old one, make the rename durable.
Status UringEnv::replace_file(const std::string& path, std::span<const std::byte> data) {
    const std::string temporary = path + ".new";
    const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor < 0) return error_from_errno(errno, "create");
    bool ok = true;
    for (size_t written = 0; ok && written < data.size();) {
        const ssize_t n = ::write(descriptor, data.data() + written, data.size() - written);
        if (n < 0 && errno == EINTR) continue;
        ok = n > 0;
        if (ok) written += static_cast<size_t>(n);
    }
    Status status = sync_and_close(descriptor, ok);
    if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
        status = error_from_errno(errno, "rename");
    }
    if (!status.ok()) {
        unlink(temporary.c_str());
        return status;
    }
    return sync_folder_of(path);
}

Outcome<std::unique_ptr<Listener>> UringEnv::listen(const Address& address) {
    return listen_uring(*this, address);
}

Task<Result<std::unique_ptr<Stream>>> UringEnv::connect(Address address) {
    co_return co_await connect_uring(*this, std::move(address));
}

}  // namespace gemel
