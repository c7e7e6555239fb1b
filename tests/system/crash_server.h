// SPDX-License-Identifier: Apache-2.0
//
// The server under test, as a child process that does not outlive this one.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace gemel::crash {

class Server {
public:
    // Its output is appended to `log_path`, or is ours if that is empty.
    Server(std::vector<std::string> command, std::string log_path)
        : command_(std::move(command)), log_path_(std::move(log_path)) {}
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    void start();
    // SIGKILL and a new one at once: the old process may not even have died yet.
    void kill_and_restart();
    // SIGTERM; throws unless it then ends by itself with exit code 0.
    void stop();
    // Throws if it has ended by itself.
    void expect_alive();

private:
    pid_t spawn() const;

    std::vector<std::string> command_;
    std::string log_path_;
    pid_t pid_ = -1;
};

}  // namespace gemel::crash
