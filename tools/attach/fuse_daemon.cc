// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/fuse_daemon.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "tools/attach/block_devices.h"
#include "tools/attach/detacher.h"
#include "tools/attach/fuse_device.h"

namespace gemel::tools {
namespace {

using Clock = NbdSession::Clock;

constexpr std::chrono::seconds kClearLimit{10};

class FuseDaemon {
public:
    FuseDaemon(FuseDaemonPlan plan, NbdConnection connection, DaemonChannel channel)
        : attachment_(plan.attachment),
          channel_(std::move(channel)),
          log_(attachment_.log()),
          exported_(connection.exported),
          session_(std::move(plan.place), std::move(connection),
                   {kFuseRequestsMax, kFuseRequestBytesMax, plan.timeout}, log_),
          device_(exported_, session_, log_),
          detacher_({[this] { return loop_devices_on(attachment_.backing_file()); },
                     [](const std::string& device) { return clear_loop(device, kClearLimit); }},
                    log_),
          signals_(termination_signals()) {}

    // `denied` goes to the log.
    void run(const std::string& denied);

private:
    void serve();
    void wait(std::vector<pollfd>& polls);
    void handle_signals();
    void handle_channel();
    void handle_detacher();

    const Attachment attachment_;
    DaemonChannel channel_;
    DaemonLog log_;
    const NbdExport exported_;
    NbdSession session_;
    FuseDevice device_;
    Detacher detacher_;
    FileDescriptor signals_;
    bool setting_up_ = true;
    bool kept_ = false;  // Attach has finished its part: from now on we are on our own.
    bool finished_ = false;
};

void FuseDaemon::run(const std::string& denied) {
    const Outcome<void> mounted = device_.mount(attachment_.mount_point());
    if (!mounted.ok()) {
        remove(attachment_);
        channel_.say("failed: " + mounted.error().text);
        return;
    }
    const std::string all_denied = denied + lock_memory();
    if (!all_denied.empty()) log_.say("not permitted: " + all_denied);
    channel_.say("ready " + std::to_string(getpid()) + " " + attachment_.folder);
    serve();
    session_.close();
    remove(attachment_);
}

void FuseDaemon::wait(std::vector<pollfd>& polls) {
    polls.clear();
    polls.push_back(pollfd{signals_.get(), POLLIN, 0});
    polls.push_back(pollfd{detacher_.event(), POLLIN, 0});
    if (setting_up_) polls.push_back(pollfd{channel_.descriptor(), POLLIN, 0});
    if (device_.ready()) polls.push_back(pollfd{device_.descriptor(), POLLIN, 0});
    session_.add_polls(polls);
    int limit_ms = -1;
    if (const std::optional<Clock::time_point> deadline = session_.deadline()) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
        limit_ms = static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
    }
    if (poll(polls.data(), polls.size(), limit_ms) < 0) {
        for (pollfd& each : polls) each.revents = 0;
    }
}

void FuseDaemon::serve() {
    std::vector<pollfd> polls;
    while (!finished_) {
        wait(polls);
        for (const pollfd& each : polls) {
            if (each.revents == 0) continue;
            if (each.fd == signals_.get()) handle_signals();
            if (each.fd == detacher_.event()) handle_detacher();
            if (setting_up_ && each.fd == channel_.descriptor()) handle_channel();
            // Unmounted by force, or by remove() of somebody who thought us dead.
            if (each.fd == device_.descriptor() && !device_.receive()) finished_ = true;
        }
        session_.turn(polls);
        // The loop device was cleared, by us or by somebody else's losetup -d.
        if (kept_ && device_.abandoned()) finished_ = true;
    }
}

void FuseDaemon::handle_signals() {
    if (!take_signal(signals_.get())) return;
    log_.say("asked to detach");
    detacher_.start(true);
}

void FuseDaemon::handle_channel() {
    const std::string message = channel_.hear(0);
    setting_up_ = false;
    if (message.starts_with("keep ")) {
        kept_ = true;
        log_.say("attached as " + message.substr(5));
        return;
    }
    log_.say("attach did not finish: undoing");
    detacher_.start(false);
}

void FuseDaemon::handle_detacher() {
    switch (detacher_.take_state()) {
        case Detacher::State::flushing:
            session_.finish_within(session_.connected() ? kFlushGrace : kFlushGraceWithoutServer);
            break;
        case Detacher::State::released: finished_ = true; break;
        case Detacher::State::refused:
            session_.carry_on();
            // Nobody is left to detach later what attach could not finish.
            if (!kept_ && !setting_up_) finished_ = true;
            break;
        case Detacher::State::idle: break;
    }
}

}  // namespace

void run_fuse_daemon(FuseDaemonPlan plan, NbdConnection connection, DaemonChannel channel) {
    const std::string denied = prepare_for_low_memory();
    FuseDaemon daemon(std::move(plan), std::move(connection), std::move(channel));
    daemon.run(denied);
    // Without unwinding: a thread may be in the middle of an attempt to reconnect.
    _exit(0);
}

}  // namespace gemel::tools
