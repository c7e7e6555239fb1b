// SPDX-License-Identifier: Apache-2.0
//
// What a daemon does on SIGTERM: flush and release its own block device. The steps wait for
// requests that the daemon's loop must answer meanwhile, hence a thread.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "blockdev/result.h"
#include "tools/attach/daemon_log.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

class Detacher {
public:
    enum class State { idle, flushing, refused, released };

    // The devices to release, and how one is released once it is flushed and unused.
    struct Steps {
        std::function<std::vector<std::string>()> devices;
        std::function<Outcome<void>(const std::string& device)> let_go;
    };

    Detacher(Steps steps, DaemonLog& log);
    ~Detacher();

    // Begins, unless it has begun already. `check_use`: a device in use is left alone.
    void start(bool check_use);
    // Becomes readable with each change of state.
    int event() const { return event_.get(); }
    // flushing: the loop bounds the flush. refused: the device stays, and start() may be called
    // again. released: the device is gone.
    State take_state();
    // The device is being let go: its connection may end any moment, as it should.
    bool letting_go() const { return letting_go_; }

private:
    void run(bool check_use);
    void enter(State state);
    bool release(const std::string& device, bool check_use);

    const Steps steps_;
    DaemonLog& log_;
    FileDescriptor event_;
    std::atomic<State> state_{State::idle};
    std::atomic<bool> letting_go_ = false;
    std::thread thread_;
};

// The beginning of a log line that tells why SIGTERM did not detach.
inline constexpr char kRefusedLine[] = "detach refused: ";
// The beginning of a log line for the operator who detaches.
inline constexpr char kWarningLine[] = "warning: ";

}  // namespace gemel::tools
