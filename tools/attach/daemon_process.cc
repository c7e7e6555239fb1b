// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/daemon_process.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <utility>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace gemel::tools {
namespace {

constexpr size_t kMessageBytesMax = 4096;
constexpr size_t kThreadStackBytes = 256u << 10;

void detach_from_terminal() {
    const FileDescriptor null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int each : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), each);
}

// Closes everything above standard error except two descriptors.
void close_others(int a, int b) {
    const unsigned low = static_cast<unsigned>(std::min(a, b));
    const unsigned high = static_cast<unsigned>(std::max(a, b));
    if (low > 3) close_range(3, low - 1, 0);
    if (high > low + 1) close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0u, 0);
}

void block_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2}) {
        sigaddset(&set, each);
    }
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace

bool DaemonChannel::say(const std::string& message) const {
    const std::string cut = message.substr(0, kMessageBytesMax);
    return send(socket_.get(), cut.data(), cut.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(cut.size());
}

std::string DaemonChannel::hear(int limit_ms) const {
    pollfd one{socket_.get(), POLLIN, 0};
    int ready = 0;
    do { ready = poll(&one, 1, limit_ms); } while (ready < 0 && errno == EINTR);
    if (ready <= 0) return "";
    std::array<char, kMessageBytesMax> text;
    const ssize_t n = recv(socket_.get(), text.data(), text.size(), 0);
    return n > 0 ? std::string(text.data(), static_cast<size_t>(n)) : "";
}

void DaemonChannel::hang_up(int limit_ms) const {
    shutdown(socket_.get(), SHUT_WR);
    while (!hear(limit_ms).empty()) {}
}

Outcome<Spawned> spawn_daemon(int keep) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return Problem{Errc::io, std::string("cannot talk to a daemon: ") + std::strerror(errno)};
    }
    FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    const pid_t child = fork();
    if (child < 0) {
        return Problem{Errc::io, std::string("cannot start a daemon: ") + std::strerror(errno)};
    }
    if (child > 0) {
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        return Spawned{false, DaemonChannel(std::move(ours))};
    }
    setsid();
    // The second fork: the daemon is nobody's child, and can never get a terminal again.
    if (const pid_t second = fork(); second != 0) _exit(second < 0 ? 1 : 0);
    static_cast<void>(!chdir("/"));
    umask(0077);
    block_signals();
    detach_from_terminal();
    { const FileDescriptor not_needed(std::move(ours)); }
    close_others(theirs.get(), keep);
    return Spawned{true, DaemonChannel(std::move(theirs))};
}

void send_errors_to(const std::string& log_path) {
    const FileDescriptor log(
        open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    if (log.valid()) dup2(log.get(), STDERR_FILENO);
}

FileDescriptor termination_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return FileDescriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

bool take_signal(int descriptor) {
    bool any = false;
    signalfd_siginfo info{};
    while (read(descriptor, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) any = true;
    return any;
}

std::string prepare_for_low_memory() {
    std::string denied;
    if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) {
        denied += std::string("PR_SET_IO_FLUSHER: ") + std::strerror(errno) + "; ";
    }
    std::ofstream score("/proc/self/oom_score_adj");
    score << "-1000" << std::flush;
    if (!score) denied += "oom_score_adj; ";
    prctl(PR_SET_NAME, "gemel-attach");
    // One arena, and memory once had is kept: freeing must not lead to asking again.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_TRIM_THRESHOLD, -1);
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, kThreadStackBytes);
    pthread_setattr_default_np(&small);
    pthread_attr_destroy(&small);
    return denied;
}

std::string lock_memory() {
    const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &unlimited);
    if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0) return "";
    return std::string("mlockall: ") + std::strerror(errno) + "; ";
}

}  // namespace gemel::tools
