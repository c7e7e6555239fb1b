// SPDX-License-Identifier: Apache-2.0
//
// The attachment's daemon: how it is born, how it and attach speak while the device is set up,
// and what keeps it from waiting for memory that only it could free.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "blockdev/result.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

// Attach's end and the daemon's end of one conversation:
//   the daemon says "ready PID FOLDER [DEVICE]" or "failed: WHY", or dies, which is seen as well;
//   attach says "keep DEVICE" once all is set up, or closes: then the daemon undoes its part.
class DaemonChannel {
public:
    explicit DaemonChannel(FileDescriptor socket) : socket_(std::move(socket)) {}

    bool say(const std::string& message) const;
    // One message; empty when the other side is gone or `limit_ms` is over.
    std::string hear(int limit_ms) const;
    // Says no more, and waits until the other side is gone.
    void hang_up(int limit_ms) const;
    int descriptor() const { return socket_.get(); }

private:
    FileDescriptor socket_;
};

// Forks a process in a session of its own, with no terminal, no inherited files but `keep`, and
// every catchable signal that would end it blocked. Returns twice, as fork does.
struct Spawned {
    bool in_daemon;
    DaemonChannel channel;
};
Outcome<Spawned> spawn_daemon(int keep);
// For the daemon: what libraries say on standard error goes to its log.
void send_errors_to(const std::string& log_path);

// For the daemon: SIGTERM and SIGINT as a descriptor to poll, and whether one came.
FileDescriptor termination_signals();
bool take_signal(int descriptor);

// For how long a daemon that detaches lets the last flush go without any sign of life.
inline constexpr std::chrono::milliseconds kFlushGrace{10'000};
inline constexpr std::chrono::milliseconds kFlushGraceWithoutServer{2'000};

// For the daemon, before it starts threads: memory it asks for must never be made free by writing
// to its own device, it must not be killed to make memory free, and thread stacks stay small.
// Returns what was not permitted, for the log.
std::string prepare_for_low_memory();
// For the daemon, once all its memory is taken: keeps that memory resident.
std::string lock_memory();

}  // namespace gemel::tools
