// SPDX-License-Identifier: Apache-2.0
#include "tests/system/crash_server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace gemel::crash {
namespace {

constexpr std::chrono::seconds kStopDeadline{120};

std::string describe(int status) {
    if (WIFEXITED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
    return "signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

Server::~Server() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

pid_t Server::spawn() const {
    std::vector<char*> arguments;
    for (const std::string& part : command_) arguments.push_back(const_cast<char*>(part.c_str()));
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child > 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!log_path_.empty()) {
        const int log = ::open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        ::dup2(log, STDOUT_FILENO);
        ::dup2(log, STDERR_FILENO);
    }
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
}

void Server::start() { pid_ = spawn(); }

void Server::kill_and_restart() {
    const pid_t old = pid_;
    ::kill(old, SIGKILL);
    pid_ = spawn();
    ::waitpid(old, nullptr, 0);
}

void Server::stop() {
    ::kill(pid_, SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + kStopDeadline;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
        if (std::chrono::steady_clock::now() > deadline) {
            throw std::runtime_error("the server does not end after SIGTERM");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    pid_ = -1;
    if (status != 0) {
        throw std::runtime_error("after SIGTERM the server ended with " + describe(status));
    }
}

void Server::expect_alive() {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == 0) return;
    pid_ = -1;
    throw std::runtime_error("the server ended by itself with " + describe(status));
}

}  // namespace gemel::crash
