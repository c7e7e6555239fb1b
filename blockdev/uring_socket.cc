// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <cstring>

namespace gemel {

namespace {

// One turn's replies, or one large request, go into the kernel at once. The kernel doubles what it
// is told: 4 MiB. What lies there for a client that does not read is memory outside our own bounds:
// 64 connections hold 256 MiB if every one of them stalls, and next to nothing otherwise.
constexpr int kSocketBufferBytes = 2 << 20;

void set_option(int descriptor, int level, int option, int value) {
    (void)setsockopt(descriptor, level, option, &value, sizeof value);
}

// The forced variant goes beyond the system's limit where we are allowed to.
void set_buffer(int descriptor, int forced, int plain) {
    const int size = kSocketBufferBytes;
    if (setsockopt(descriptor, SOL_SOCKET, forced, &size, sizeof size) != 0) {
        set_option(descriptor, SOL_SOCKET, plain, size);
    }
}

Outcome<std::vector<SocketAddress>> resolve_unix(const std::string& path) {
    SocketAddress address;
    auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
    constexpr size_t kLimit = sizeof un.sun_path - 1;
    static_assert(kLimit == 107);
    if (path.size() > kLimit) {
        return Problem{Errc::invalid, "the socket path " + path + " is " +
                                          std::to_string(path.size()) +
                                          " bytes long; the system allows " +
                                          std::to_string(kLimit) + ": choose a shorter path"};
    }
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return std::vector<SocketAddress>{address};
}

}  // namespace

std::string SocketAddress::text() const {
    char host[NI_MAXHOST] = "";
    char port[NI_MAXSERV] = "";
    if (family() == AF_UNIX) return "unix";
    if (getnameinfo(get(), length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "unknown";
    }
    return family() == AF_INET6 ? "[" + std::string(host) + "]:" + port
                                : std::string(host) + ":" + port;
}

Outcome<std::vector<SocketAddress>> resolve(const Address& address, bool listening) {
    if (!address.unix_path.empty()) return resolve_unix(address.unix_path);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | (listening ? AI_PASSIVE : 0);
    addrinfo* list = nullptr;
    const int error =
        getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
    if (error != 0) {
        return Problem{Errc::not_found,
                       "the host " + address.host + " is not known: " + gai_strerror(error)};
    }
    std::vector<SocketAddress> found;
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        if (entry->ai_addrlen > sizeof(sockaddr_storage)) continue;
        SocketAddress one;
        std::memcpy(&one.storage, entry->ai_addr, entry->ai_addrlen);
        one.length = entry->ai_addrlen;
        found.push_back(one);
    }
    freeaddrinfo(list);
    if (found.empty())
        return Problem{Errc::not_found, "the host " + address.host + " is not known"};
    return found;
}

void tune_socket(int descriptor, int family) {
    if (family == AF_UNIX) {
        set_buffer(descriptor, SO_SNDBUFFORCE, SO_SNDBUF);
        return;
    }
    // TCP sizes its buffers itself, and better than a fixed number would.
    set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    // A peer that vanished without a word is noticed after two minutes.
    set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, 10);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, 6);
}

}  // namespace gemel
