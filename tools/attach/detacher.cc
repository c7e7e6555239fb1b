// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/detacher.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "blockdev/assert.h"
#include "tools/attach/block_devices.h"

namespace gemel::tools {
Detacher::Detacher(Steps steps, DaemonLog& log)
    : steps_(std::move(steps)), log_(log), event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CHECK(event_.valid());
}

Detacher::~Detacher() {
    if (thread_.joinable()) thread_.join();
}

void Detacher::start(bool check_use) {
    const State now = state_;
    if (now == State::flushing || now == State::released) return;
    if (thread_.joinable()) thread_.join();
    thread_ = std::thread([this, check_use] { run(check_use); });
}

void Detacher::enter(State state) {
    state_ = state;
    static_cast<void>(eventfd_write(event_.get(), 1));
}

Detacher::State Detacher::take_state() {
    eventfd_t ignored = 0;
    static_cast<void>(eventfd_read(event_.get(), &ignored));
    return state_;
}

bool Detacher::release(const std::string& device, bool check_use) {
    const std::string use = check_use ? use_of(device) : "";
    if (!use.empty()) {
        log_.say(kRefusedLine + device + " is " + use);
        return false;
    }
    // From here on the server's silence is bounded: even opening the device may have to wait for
    // somebody's close, which writes back.
    enter(State::flushing);
    {
        // The claim keeps a mount from slipping in between.
        const int exclusive = check_use ? O_EXCL : 0;
        const FileDescriptor claim(open(device.c_str(), O_RDONLY | O_CLOEXEC | exclusive));
        if (!claim.valid()) {
            log_.say(kRefusedLine + device + ": " + std::strerror(errno));
            return false;
        }
        if (fsync(claim.get()) != 0) {
            log_.say(kWarningLine + device + " could not be flushed (" + std::strerror(errno) +
                     "): what was written since the last flush may be lost");
        }
    }
    letting_go_ = true;
    const Outcome<void> cleared = steps_.let_go(device);
    if (!cleared.ok()) log_.say(kWarningLine + cleared.error().text);
    return true;
}

void Detacher::run(bool check_use) {
    for (const std::string& device : steps_.devices()) {
        if (!release(device, check_use)) {
            enter(State::refused);
            return;
        }
    }
    enter(State::released);
}

}  // namespace gemel::tools
