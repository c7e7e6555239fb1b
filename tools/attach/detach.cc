// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "tools/attach/attach.h"
#include "tools/attach/attachment.h"
#include "tools/attach/block_devices.h"
#include "tools/attach/daemon_process.h"
#include "tools/attach/detacher.h"

namespace gemel::tools {
namespace {

using Clock = std::chrono::steady_clock;

// Somebody who looks at the device in passing, as udev does, is waited for this long.
constexpr std::chrono::milliseconds kPassingUse{1'500};
// A daemon that neither ends nor moves any data for this long is taken for hung. Longer than its
// own bound for a flush that gets no answer.
constexpr std::chrono::seconds kDaemonHung{20};
constexpr std::chrono::seconds kClearLimit{10};
constexpr std::chrono::milliseconds kPause{20};

Outcome<std::string> real_device(const std::string& given) {
    std::error_code failed;
    const std::filesystem::path path = std::filesystem::canonical(given, failed);
    if (failed) return Problem{Errc::not_found, given + ": " + failed.message()};
    struct stat info{};
    if (stat(path.c_str(), &info) != 0 || !S_ISBLK(info.st_mode)) {
        return Problem{Errc::invalid, given + " is not a block device"};
    }
    return path.string();
}

std::string use_after_patience(const std::string& device) {
    const Clock::time_point deadline = Clock::now() + kPassingUse;
    for (;;) {
        const std::string use = use_of(device);
        if (!use.starts_with("opened by") || Clock::now() >= deadline) return use;
        std::this_thread::sleep_for(kPause);
    }
}

// The daemon's log from now on: its warnings are ours, and a refusal ends the wait.
class LogReader {
public:
    explicit LogReader(const std::string& path) : file_(path) { file_.seekg(0, std::ios::end); }

    // Prints new warnings; returns why the daemon refused, if it did.
    std::string refusal() {
        std::string line;
        file_.clear();
        while (std::getline(file_, line)) {
            const size_t text = line.find(' ');
            if (text == std::string::npos) continue;
            line.erase(0, text + 1);
            if (line.starts_with(kRefusedLine)) return line.substr(sizeof kRefusedLine - 1);
            if (line.starts_with(kWarningLine)) {
                std::fprintf(stderr, "gemel detach: %s\n", line.c_str());
            }
        }
        return "";
    }

private:
    std::ifstream file_;
};

// Asks the daemon to detach. Ok: the daemon is gone, by itself or because it hung.
Outcome<void> end_daemon(const Attachment& attachment) {
    const int number = static_cast<int>(syscall(SYS_pidfd_open, attachment.daemon, 0));
    const FileDescriptor daemon(number);
    // Checked after the descriptor is ours: it can be no other process any more.
    if (!daemon.valid() || !attachment.daemon_alive()) return {};
    LogReader log(attachment.log());
    syscall(SYS_pidfd_send_signal, daemon.get(), SIGTERM, nullptr, 0);
    std::string progress = progress_of(attachment.device);
    Clock::time_point hung = Clock::now() + kDaemonHung;
    for (;;) {
        pollfd one{daemon.get(), POLLIN, 0};
        const bool ended = poll(&one, 1, static_cast<int>(kPause.count())) > 0;
        const std::string refusal = log.refusal();
        if (!refusal.empty()) return Problem{Errc::busy, refusal};
        if (ended) return {};
        std::string now = progress_of(attachment.device);
        if (now != progress) hung = Clock::now() + kDaemonHung;
        progress = std::move(now);
        if (Clock::now() < hung) continue;
        std::fprintf(stderr,
                     "gemel detach: warning: the daemon (process %d) hangs and is killed; "
                     "what was written since the last flush may be lost\n",
                     static_cast<int>(attachment.daemon));
        syscall(SYS_pidfd_send_signal, daemon.get(), SIGKILL, nullptr, 0);
        poll(&one, 1, -1);
        return {};
    }
}

// Flushes while requests make progress. The thread is left behind if it hangs: disconnecting the
// device ends its wait.
void flush_within_bounds(const std::string& device) {
    const auto result = std::make_shared<std::atomic<int>>(-1);
    std::thread([device, result] {
        const FileDescriptor file(open(device.c_str(), O_RDONLY | O_CLOEXEC));
        *result = file.valid() && fsync(file.get()) == 0 ? 0 : 1;
    }).detach();
    std::string progress = progress_of(device);
    Clock::time_point hung = Clock::now() + kFlushGrace;
    while (*result < 0 && Clock::now() < hung) {
        std::this_thread::sleep_for(kPause);
        std::string now = progress_of(device);
        if (now != progress) hung = Clock::now() + kFlushGrace;
        progress = std::move(now);
    }
    if (*result == 0) return;
    std::fprintf(stderr,
                 "gemel detach: warning: %s could not be flushed: what was written since "
                 "the last flush may be lost\n",
                 device.c_str());
}

Outcome<void> detach(const std::string& given) {
    const Outcome<std::string> device = real_device(given);
    if (!device.ok()) return device.error();
    const std::optional<Attachment> attachment = find_attachment(device.value());
    if (!attachment) {
        return Problem{Errc::invalid, device.value() + " was not attached by gemel"};
    }
    if (geteuid() != 0) return Problem{Errc::permission, "detaching needs root"};
    const std::string use = use_after_patience(device.value());
    if (!use.empty()) return Problem{Errc::busy, device.value() + " is " + use};
    const Outcome<void> ended = end_daemon(*attachment);
    if (!ended.ok()) return ended;
    // What is left if the daemon did not end by itself, or had died before.
    Outcome<void> released;
    if (loop_backing_file(device.value())) {
        released = clear_loop(device.value(), kClearLimit);
    } else if (nbd_connected(device.value())) {
        // The kernel's nbd goes on without a daemon, and so may its server.
        flush_within_bounds(device.value());
        released = disconnect_nbd(device.value(), kClearLimit);
    }
    remove(*attachment);
    return released;
}

}  // namespace

int run_detach(const DetachOptions& options) {
    const Outcome<void> done = detach(options.device);
    if (done.ok()) return 0;
    std::fprintf(stderr, "gemel detach: %s\n", done.error().text.c_str());
    return 1;
}

}  // namespace gemel::tools
