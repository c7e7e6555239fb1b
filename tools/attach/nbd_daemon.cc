// SPDX-License-Identifier: Apache-2.0
//
// When the server dies: the kernel keeps the requests. Those that were not sent wait for the next
// connection, those that were sent and not answered are sent again when their own timeout fires.
// The old socket is shut down before the connector opens and announces the next one, so that the
// server has ended with one before it serves the other.
#include "tools/attach/nbd_daemon.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <utility>
#include <vector>

#include "tools/attach/block_devices.h"
#include "tools/attach/connector.h"
#include "tools/attach/detacher.h"
#include "tools/attach/nbd_netlink.h"

namespace gemel::tools {
namespace {

using Clock = std::chrono::steady_clock;

// After this the kernel takes a sent request for lost, ends the connection, and sends it again on
// the next one. It is also how long requests that were on their way when the server died wait.
constexpr uint64_t kRequestTimeoutSeconds = 5;
// The kernel notices a dead connection in its own time; then it takes a new one.
constexpr std::chrono::milliseconds kReplacePause{50};
constexpr std::chrono::milliseconds kPauseAfterTimeout{500};
constexpr std::chrono::milliseconds kTick{200};
constexpr std::chrono::seconds kDisconnectLimit{10};

class NbdDaemon {
public:
    NbdDaemon(NbdDaemonPlan plan, const NbdConnection& first, DaemonChannel channel)
        : attachment_(plan.attachment),
          timeout_(plan.timeout),
          exported_(first.exported),
          channel_(std::move(channel)),
          log_(attachment_.log()),
          connector_(std::move(plan.place), first.exported, first.announced),
          detacher_(
              {[this] { return std::vector<std::string>{device_}; },
               [](const std::string& device) { return disconnect_nbd(device, kDisconnectLimit); }},
              log_),
          signals_(termination_signals()) {}

    void run(FileDescriptor socket, const std::string& denied);

private:
    Outcome<void> connect(FileDescriptor socket);
    void limit_requests() const;
    void serve();
    void wait(std::vector<pollfd>& polls);
    void handle(const std::vector<pollfd>& polls);
    void handle_channel();
    void handle_detacher();
    void lose();
    void hear();
    void replace();
    void watch_flush();

    const Attachment attachment_;
    const std::chrono::milliseconds timeout_;
    const NbdExport exported_;
    DaemonChannel channel_;
    DaemonLog log_;
    Connector connector_;
    Detacher detacher_;
    FileDescriptor signals_;

    std::optional<NbdNetlink> kernel_;
    std::string device_;
    uint32_t index_ = 0;
    // The socket that the kernel uses; ours to see when it dies.
    std::optional<FileDescriptor> current_;
    std::optional<FileDescriptor> next_;
    Clock::time_point lost_at_{};

    bool setting_up_ = true;
    bool flushing_ = false;
    Clock::time_point flush_deadline_{};
    std::string flush_progress_;
    bool finished_ = false;
};

Outcome<void> NbdDaemon::connect(FileDescriptor socket) {
    Outcome<NbdNetlink> kernel = NbdNetlink::open();
    if (!kernel.ok()) return kernel.error();
    kernel_.emplace(std::move(kernel).value());
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(timeout_).count();
    const Outcome<uint32_t> index = kernel_->connect(
        {socket.get(), exported_.size, std::max(512u, exported_.block_minimum), exported_.flags,
         kRequestTimeoutSeconds, static_cast<uint64_t>(std::max<int64_t>(seconds, 1)),
         attachment_.folder});
    if (!index.ok()) return index.error();
    index_ = index.value();
    device_ = "/dev/nbd" + std::to_string(index_);
    current_.emplace(std::move(socket));
    limit_requests();
    return {};
}

// The kernel would send up to 32 MiB; a server may have said that it takes less.
void NbdDaemon::limit_requests() const {
    const std::string path = "/sys/block/nbd" + std::to_string(index_) + "/queue/max_sectors_kb";
    uint64_t kib = 0;
    std::ifstream(path) >> kib;
    if (kib * 1024 > exported_.payload_maximum) {
        std::ofstream(path) << exported_.payload_maximum / 1024;
    }
}

void NbdDaemon::run(FileDescriptor socket, const std::string& denied) {
    const Outcome<void> connected = connect(std::move(socket));
    if (!connected.ok()) {
        remove(attachment_);
        channel_.say("failed: " + connected.error().text);
        return;
    }
    const std::string all_denied = denied + lock_memory();
    if (!all_denied.empty()) log_.say("not permitted: " + all_denied);
    channel_.say("ready " + std::to_string(getpid()) + " " + attachment_.folder + " " + device_);
    serve();
    remove(attachment_);
}

void NbdDaemon::wait(std::vector<pollfd>& polls) {
    polls.clear();
    polls.push_back(pollfd{signals_.get(), POLLIN, 0});
    polls.push_back(pollfd{detacher_.event(), POLLIN, 0});
    polls.push_back(pollfd{connector_.event(), POLLIN, 0});
    if (setting_up_) polls.push_back(pollfd{channel_.descriptor(), POLLIN, 0});
    // The bytes are the kernel's; only the end is ours to see.
    if (current_) polls.push_back(pollfd{current_->get(), POLLRDHUP, 0});
    const auto limit = next_ ? kReplacePause : flushing_ || !current_ ? kTick : kTick * 10;
    if (poll(polls.data(), polls.size(), static_cast<int>(limit.count())) < 0) {
        for (pollfd& each : polls) each.revents = 0;
    }
}

void NbdDaemon::serve() {
    std::vector<pollfd> polls;
    while (!finished_) {
        wait(polls);
        handle(polls);
        if (next_) replace();
        if (flushing_) watch_flush();
        if (!current_ && Clock::now() - lost_at_ > timeout_) {
            connector_.set_pause(kPauseAfterTimeout);
        }
        // Disconnected by us, or by somebody else's nbd-client -d.
        if (!nbd_connected(device_) && !flushing_) finished_ = true;
    }
}

void NbdDaemon::handle(const std::vector<pollfd>& polls) {
    for (const pollfd& each : polls) {
        if (each.revents == 0) continue;
        if (each.fd == signals_.get() && take_signal(signals_.get())) {
            log_.say("asked to detach");
            detacher_.start(true);
        }
        if (each.fd == detacher_.event()) handle_detacher();
        if (each.fd == connector_.event()) hear();
        if (setting_up_ && each.fd == channel_.descriptor()) handle_channel();
        if (current_ && each.fd == current_->get()) lose();
    }
}

void NbdDaemon::handle_channel() {
    const std::string message = channel_.hear(0);
    setting_up_ = false;
    if (message.starts_with("keep ")) {
        log_.say("attached as " + message.substr(5));
        return;
    }
    log_.say("attach did not finish: undoing");
    detacher_.start(false);
}

void NbdDaemon::lose() {
    if (detacher_.letting_go()) {
        current_.reset();
        return;
    }
    log_.say("connection lost");
    lost_at_ = Clock::now();
    shutdown(current_->get(), SHUT_RDWR);
    current_.reset();
    connector_.set_pause(kReplacePause);
    connector_.start();
}

void NbdDaemon::hear() {
    std::optional<Connector::News> news = connector_.take();
    if (!news) return;
    if (!news->connection) {
        log_.say(news->problem);
        return;
    }
    next_.emplace(std::move(news->connection->socket));
}

void NbdDaemon::replace() {
    const Outcome<void> taken = kernel_->reconnect(index_, next_->get(), attachment_.folder);
    if (!taken.ok() && taken.error().code == Errc::no_space) return;
    if (taken.ok()) {
        log_.say("connected again; the kernel sends again what was not answered");
        current_.emplace(std::move(*next_));
    } else {
        log_.say(taken.error().text);
        connector_.start();
    }
    next_.reset();
}

void NbdDaemon::handle_detacher() {
    switch (detacher_.take_state()) {
        case Detacher::State::flushing:
            flushing_ = true;
            flush_deadline_ = Clock::now() + (current_ ? kFlushGrace : kFlushGraceWithoutServer);
            flush_progress_ = progress_of(device_);
            break;
        case Detacher::State::refused: flushing_ = false; break;
        case Detacher::State::released: finished_ = true; break;
        case Detacher::State::idle: break;
    }
}

// Ends a flush that gets no answer: without the device, everything fails at once.
void NbdDaemon::watch_flush() {
    std::string progress = progress_of(device_);
    if (progress != flush_progress_) flush_deadline_ = Clock::now() + kFlushGrace;
    flush_progress_ = std::move(progress);
    if (Clock::now() < flush_deadline_) return;
    log_.say("no answer while detaching");
    static_cast<void>(kernel_->disconnect(index_).ok());
    flush_deadline_ = Clock::now() + kFlushGrace;
}

}  // namespace

void run_nbd_daemon(NbdDaemonPlan plan, NbdConnection connection, DaemonChannel channel) {
    const std::string denied = prepare_for_low_memory();
    NbdDaemon daemon(std::move(plan), connection, std::move(channel));
    daemon.run(std::move(connection.socket), denied);
    // Without unwinding: a thread may be in the middle of an attempt to reconnect.
    _exit(0);
}

}  // namespace gemel::tools
