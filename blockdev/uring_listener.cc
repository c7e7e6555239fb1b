// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "blockdev/uring_socket.h"
#include "blockdev/uring_stream.h"

namespace gemel {

namespace {

constexpr int kBacklog = 128;

class UringListener final : public Listener {
public:
    UringListener(UringEnv& env, int descriptor, Address address, struct stat socket_file)
        : env_(env),
          descriptor_(descriptor),
          address_(std::move(address)),
          socket_file_(socket_file) {}

    ~UringListener() override {
        CHECK(!accepting_);
        close();
        ::close(descriptor_);
    }

    Task<Result<std::unique_ptr<Stream>>> accept() override {
        CHECK(!accepting_);
        if (closed_) co_return Error{Errc::closed, 0, "accept"};
        accepting_ = true;
        SocketAddress peer;
        peer.length = sizeof peer.storage;
        UringAwait wait(env_);
        io_uring_prep_accept(env_.get_sqe(wait), descriptor_, peer.get(), &peer.length,
                             SOCK_CLOEXEC);
        const int32_t result = co_await wait;
        accepting_ = false;
        if (result >= 0 && closed_) ::close(result);
        if (closed_) co_return Error{Errc::closed, 0, "accept"};
        if (result < 0) co_return error_from_errno(-result, "accept");
        const int family = address_.unix_path.empty() ? peer.family() : AF_UNIX;
        tune_socket(result, family);
        co_return stream_from_socket(env_, result, name_of(peer, result, family));
    }

    // Waiting connections are refused at once, so that a client can go elsewhere.
    void close() override {
        if (closed_) return;
        closed_ = true;
        shutdown(descriptor_, SHUT_RDWR);
        if (address_.unix_path.empty()) return;
        struct stat now{};
        const char* path = address_.unix_path.c_str();
        const bool ours = lstat(path, &now) == 0 && now.st_dev == socket_file_.st_dev &&
                          now.st_ino == socket_file_.st_ino;
        if (ours) unlink(path);
    }

    const Address& address() const override { return address_; }

private:
    static std::string name_of(const SocketAddress& peer, int descriptor, int family) {
        if (family != AF_UNIX) return peer.text();
        ucred credentials{};
        socklen_t length = sizeof credentials;
        if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
            return "unix";
        }
        return "process " + std::to_string(credentials.pid);
    }

    UringEnv& env_;
    int descriptor_;
    Address address_;
    struct stat socket_file_;  // What was made for a unix socket.
    bool accepting_ = false;
    bool closed_ = false;
};

Problem cannot_listen(const Address& address, int error) {
    Problem problem{error_from_errno(error, "listen").code,
                    "cannot listen on " + address.text() + ": " + std::strerror(error)};
    if (error == EADDRINUSE) problem.text += " (in use by another process)";
    return problem;
}

// Whether the socket file may be replaced: only if it is a socket that refuses connections.
Outcome<bool> is_stale(const Address& address, const SocketAddress& socket_address) {
    struct stat info{};
    if (lstat(address.unix_path.c_str(), &info) != 0) return false;
    if (!S_ISSOCK(info.st_mode)) {
        return Problem{Errc::exists, "cannot listen on " + address.text() +
                                         ": something that is no socket is there already"};
    }
    const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) return cannot_listen(address, errno);
    const int result = connect(probe, socket_address.get(), socket_address.length);
    const int error = result == 0 ? 0 : errno;
    ::close(probe);
    if (error == ECONNREFUSED) return true;
    return Problem{Errc::busy, "cannot listen on " + address.text() +
                                   ": the socket is in use by another process"};
}

Outcome<int> open_socket(const Address& address, const SocketAddress& socket_address) {
    const bool is_unix = socket_address.family() == AF_UNIX;
    if (is_unix) {
        auto stale = is_stale(address, socket_address);
        if (!stale.ok()) return stale.error();
        if (stale.value()) unlink(address.unix_path.c_str());
    }
    const int descriptor = socket(socket_address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return cannot_listen(address, errno);
    const int on = 1;
    if (is_unix) {
        // The socket file inherits this mode: it is never open to others, not even for a moment.
        fchmod(descriptor, S_IRUSR | S_IWUSR);
    } else {
        (void)setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    }
    if (bind(descriptor, socket_address.get(), socket_address.length) != 0 ||
        listen(descriptor, kBacklog) != 0) {
        const int error = errno;
        ::close(descriptor);
        return cannot_listen(address, error);
    }
    return descriptor;
}

}  // namespace

Outcome<std::unique_ptr<Listener>> listen_uring(UringEnv& env, const Address& address) {
    auto candidates = resolve(address, true);
    if (!candidates.ok()) return candidates.error();
    // A name may mean several addresses; the first that can be had is taken.
    Problem problem;
    for (const SocketAddress& candidate : candidates.value()) {
        auto descriptor = open_socket(address, candidate);
        if (!descriptor.ok()) {
            problem = descriptor.error();
            continue;
        }
        Address real = address;
        struct stat socket_file{};
        SocketAddress bound;
        bound.length = sizeof bound.storage;
        if (!address.unix_path.empty()) {
            lstat(address.unix_path.c_str(), &socket_file);
        } else if (getsockname(descriptor.value(), bound.get(), &bound.length) == 0) {
            // The port lies at the same place for both families.
            const auto& in = reinterpret_cast<const sockaddr_in&>(bound.storage);
            real.port = ntohs(in.sin_port);
        }
        return std::unique_ptr<Listener>(
            std::make_unique<UringListener>(env, descriptor.value(), std::move(real), socket_file));
    }
    return problem;
}

}  // namespace gemel
