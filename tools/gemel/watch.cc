// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/watch.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <optional>

#include "tools/config/file_descriptor.h"
#include "tools/config/volume_file.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_answer.h"
#include "tools/gemel/status_view.h"

namespace gemel::tools {

namespace {

constexpr int kInterval_ms = 1000;
constexpr const char* kClearScreen = "\x1b[2J";

// From now on the signals that end it are no more than something to read.
FileDescriptor take_end_signals() {
    UringEnv::block_signals({SIGINT, SIGTERM});
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    FileDescriptor signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals.valid()) throw Failure("cannot wait for signals");
    return signals;
}

// False: it is time to end.
bool wait_a_moment(const FileDescriptor& signals) {
    // Of standard output only this is of interest: that nobody reads it any more.
    pollfd waits[] = {{signals.get(), POLLIN, 0}, {STDOUT_FILENO, 0, 0}};
    poll(waits, 2, kInterval_ms);
    return waits[0].revents == 0 && waits[1].revents == 0;
}

size_t terminal_rows() {
    winsize size{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 1;
    return known ? size.ws_row : SIZE_MAX;
}

}  // namespace

int watch_volume(const std::string& file, const std::string& given) {
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    const FileDescriptor signals = take_end_signals();
    const bool draws = isatty(STDOUT_FILENO) == 1;
    std::optional<VolumeStatus> shown;
    do {
        Outcome<VolumeStatus> answer = ask_status_of(description, file);
        // A server that is just ending hangs up.
        if (!answer.ok() && answer.error().code == Errc::io) {
            answer = ask_status_of(description, file);
        }
        if (shown && !answer.ok() && means_no_server(answer.error())) {
            throw Failure(fmt::format("{} is not served any more", given));
        }
        VolumeStatus status = answer_or_throw(std::move(answer), given);
        if (draws) {
            fmt::print("{}{}", shown ? "" : kClearScreen, screen(status, terminal_rows()));
        } else if (!shown || differ(*shown, status)) {
            fmt::print("{}", block(status, static_cast<uint64_t>(std::time(nullptr))));
        }
        if (std::fflush(stdout) != 0) break;  // The caller sees it as well.
        shown = std::move(status);
    } while (wait_a_moment(signals));
    return kDone;
}

}  // namespace gemel::tools
