// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/overseer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "blockdev/process.h"
#include "tools/config/file_descriptor.h"
#include "tools/gemel/arguments.h"

namespace gemel::tools {

namespace {

// How often a child that is silent is looked at. One that is done, or being torn down, at two of
// these moments may stay so for ever.
constexpr int kLook_ms = 500;

// What the child says in the end: so short that a pipe takes it whole.
struct Report {
    int32_t code = kFailed;
    uint32_t text_length = 0;
    std::array<char, PIPE_BUF - 8> text{};
};
static_assert(sizeof(Report) == PIPE_BUF);

sigset_t overseen_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&set, number);
    return set;
}

// As the child did, so that whoever waits for us sees how it ended.
[[noreturn]] void die_by(int number) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    raise(number);
    std::_Exit(128 + number);
}

// The child's whole life.
[[noreturn]] void work_overseen(const std::function<int()>& work, const FileDescriptor& pipe,
                                pid_t overseer, const sigset_t& signals_before) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != overseer) std::_Exit(kFailed);
    // Ctrl-C is for the overseer, which passes it on.
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &signals_before, nullptr);
    Report report;
    try {
        report.code = work();
    } catch (const std::exception& failure) {
        const std::string_view text = failure.what();
        report.text_length =
            static_cast<uint32_t>(text.copy(report.text.data(), report.text.size()));
    }
    std::fflush(stdout);
    // Whoever reads what we print must see its end although we may stay.
    const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int standard : {0, 1, 2}) dup2(nowhere, standard);
    [[maybe_unused]] const ssize_t written = write(pipe.get(), &report, sizeof report);
    std::_Exit(report.code);
}

class Overseer {
public:
    Overseer(pid_t child, FileDescriptor pipe, FileDescriptor signals)
        : child_(child),
          identity_(process_with(static_cast<uint64_t>(child))),
          pipe_(std::move(pipe)),
          signals_(std::move(signals)) {}

    int run() {
        unsigned looks_in_vain = 0;
        while (looks_in_vain < 2) {
            pollfd waits[] = {{signals_.get(), POLLIN, 0}, {pipe_.get(), POLLIN, 0}};
            // A pipe that nobody will write to any more is always ready.
            const bool silent = poll(waits, pipe_ended_ ? 1 : 2, kLook_ms) == 0;
            if (waits[0].revents != 0) take_signals();
            if (waits[1].revents != 0) take_report();
            if (const std::optional<int> status = reap()) return outcome_of(*status);
            if (silent && (report_ || !process_is_alive(identity_))) ++looks_in_vain;
        }
        fmt::print(stderr, "gemel: process {} hangs in the kernel and is left to it\n", child_);
        if (!report_) die_by(SIGKILL);
        return outcome_of(0);
    }

private:
    void take_signals() {
        signalfd_siginfo info{};
        while (read(signals_.get(), &info, sizeof info) == sizeof info) {
            const int number = static_cast<int>(info.ssi_signo);
            if (number == SIGCHLD) continue;
            if (passed_on_) {
                kill(child_, SIGKILL);
                die_by(number);
            }
            passed_on_ = true;
            kill(child_, number);
        }
    }

    void take_report() {
        Report report;
        const ssize_t n = read(pipe_.get(), &report, sizeof report);
        if (n == static_cast<ssize_t>(sizeof report)) report_ = report;
        if (n >= 0 || errno != EINTR) pipe_ended_ = true;
    }

    // How the child has ended, if it has.
    std::optional<int> reap() {
        int status = 0;
        if (waitpid(child_, &status, WNOHANG) != child_) return std::nullopt;
        if (!report_) take_report();
        return status;
    }

    int outcome_of(int status) const {
        if (report_ && report_->text_length != 0) {
            throw Failure(std::string(report_->text.data(), report_->text_length));
        }
        if (report_) return report_->code;
        if (WIFSIGNALED(status)) die_by(WTERMSIG(status));
        return WEXITSTATUS(status);
    }

    pid_t child_;
    ProcessId identity_;
    FileDescriptor pipe_;
    FileDescriptor signals_;
    std::optional<Report> report_;
    bool pipe_ended_ = false;
    bool passed_on_ = false;
};

}  // namespace

int run_overseen(const std::function<int()>& work) {
    const sigset_t signals = overseen_signals();
    sigset_t before;
    sigprocmask(SIG_BLOCK, &signals, &before);
    FileDescriptor arriving(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    int ends[2] = {-1, -1};
    if (!arriving.valid() || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        throw Failure("cannot make a process to serve in: no more descriptors");
    }
    FileDescriptor reading(ends[0]);
    std::optional<FileDescriptor> writing(std::in_place, ends[1]);
    std::fflush(stdout);
    const pid_t self = getpid();
    const pid_t child = fork();
    if (child < 0) {
        throw Failure(fmt::format("cannot make a process to serve in: {}", std::strerror(errno)));
    }
    if (child == 0) work_overseen(work, *writing, self, before);
    writing.reset();
    Overseer overseer(child, std::move(reading), std::move(arriving));
    const int code = overseer.run();
    sigprocmask(SIG_SETMASK, &before, nullptr);
    return code;
}

}  // namespace gemel::tools
