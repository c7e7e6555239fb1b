// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "tools/config/file_descriptor.h"
#include "tools/config/volume_name.h"

namespace gemel::tools {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMemberLimitMs = 10'000;
constexpr int kMakingLimitMs = 24 * 3600 * 1000;

class Conversation {
public:
    Conversation(const std::string& path, int limit_ms)
        : path_(path),
          socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
          deadline_(Clock::now() + std::chrono::milliseconds(limit_ms)) {}

    Outcome<void> connect() {
        const Outcome<void> fits = check_socket_path(path_);
        if (!fits.ok()) return fits.error();
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
        while (true) {
            const auto* generic = reinterpret_cast<const sockaddr*>(&address);
            if (::connect(socket_.get(), generic, sizeof address) == 0) return {};
            // A unix socket whose backlog is full says EAGAIN and cannot be waited for.
            if (errno != EINTR && errno != EAGAIN) return failure("connect");
            if (Clock::now() >= deadline_) return late();
            poll(nullptr, 0, 10);
        }
    }

    Outcome<void> send_all(std::string_view text) {
        while (!text.empty()) {
            const ssize_t n = send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
            if (n >= 0) {
                text.remove_prefix(static_cast<size_t>(n));
            } else if (errno == EAGAIN) {
                const Outcome<void> ready = wait_for(POLLOUT);
                if (!ready.ok()) return ready.error();
            } else if (errno != EINTR) {
                return failure("send");
            }
        }
        return {};
    }

    // Without its newline.
    Outcome<std::string> receive_line() {
        std::string line;
        char buffer[4096];
        while (line.size() <= kControlAnswerSizeMax) {
            const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, 0);
            if (n == 0) return Problem{Errc::io, fmt::format("{} hung up", path_)};
            if (n > 0) {
                const char* end = std::find(buffer, buffer + n, '\n');
                line.append(buffer, static_cast<size_t>(end - buffer));
                if (end != buffer + n) return line;
            } else if (errno == EAGAIN) {
                const Outcome<void> ready = wait_for(POLLIN);
                if (!ready.ok()) return ready.error();
            } else if (errno != EINTR) {
                return failure("receive");
            }
        }
        return Problem{Errc::corrupt, fmt::format("the answer of {} has no end", path_)};
    }

private:
    Outcome<void> wait_for(short event) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
        if (left.count() <= 0) return late();
        pollfd entry{socket_.get(), event, 0};
        poll(&entry, 1, static_cast<int>(left.count()));
        return {};
    }

    Problem failure(const char* doing) const {
        const Error error = error_from_errno(errno, doing);
        return {error.code, fmt::format("{}: {}", path_, error.text())};
    }
    Problem late() const {
        return {Errc::timed_out, fmt::format("the server at {} does not answer", path_)};
    }

    const std::string& path_;
    FileDescriptor socket_;
    Clock::time_point deadline_;
};

Outcome<VolumeStatus> ask(const std::string& socket_path, const ControlRequest& request,
                          int limit_ms) {
    Conversation conversation(socket_path, limit_ms);
    Outcome<void> done = conversation.connect();
    if (!done.ok()) return done.error();
    done = conversation.send_all(render_control_request(request));
    if (!done.ok()) return done.error();
    const Outcome<std::string> line = conversation.receive_line();
    if (!line.ok()) return line.error();
    return parse_status_answer(line.value());
}

}  // namespace

Outcome<VolumeStatus> ask_status(const std::string& socket_path, int limit_ms) {
    return ask(socket_path, {ControlCommand::status}, limit_ms);
}

Outcome<VolumeStatus> ask_scrub(const std::string& socket_path, int limit_ms) {
    return ask(socket_path, {ControlCommand::scrub}, limit_ms);
}

Outcome<VolumeStatus> ask_member(const std::string& socket_path, const ControlRequest& request) {
    const bool makes_one = !request.path.empty();
    return ask(socket_path, request, makes_one ? kMakingLimitMs : kMemberLimitMs);
}

Outcome<VolumeStatus> ask_status_of(const mirror::VolumeDescription& volume,
                                    const std::string& file) {
    const VolumePaths paths = volume_paths(folder_of(file), volume.name);
    Outcome<VolumeStatus> answer = ask_status(paths.control_socket);
    if (!answer.ok() || answer.value().report.uuid == volume.uuid) return answer;
    return Problem{Errc::invalid,
                   fmt::format("the server at {} serves another volume ({}) than {} names",
                               paths.control_socket, answer.value().report.uuid.text(), file)};
}

bool means_no_server(const Problem& problem) {
    return problem.code == Errc::not_found || problem.code == Errc::closed;
}

}  // namespace gemel::tools
