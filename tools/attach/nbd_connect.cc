// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_connect.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>

#include "blockdev/assert.h"
#include "tools/attach/nbd_wire.h"

namespace gemel::tools {
namespace {

using Clock = std::chrono::steady_clock;

// Longer option replies than this are not for us to keep: no message or info needs as much.
constexpr uint32_t kOptionReplyBytesMax = 64u << 10;
constexpr int kOptionRepliesMax = 64;
constexpr size_t kDescriptionBytesMax = 4096;  // Of any string, says the protocol.
constexpr int kSocketBufferBytes = 4 << 20;

// The text is the server's: nothing that could play with a terminal is printed.
std::string printable(std::string_view text) {
    std::string out(text.substr(0, 200));
    std::ranges::replace_if(out, [](char c) { return c < ' ' || c > '~'; }, '?');
    return out;
}

// One handshake on one non-blocking socket, with a deadline over all of it.
class Handshake {
public:
    Handshake(int socket, const NbdPlace& place, const NbdAnnouncement& announcement,
              Clock::time_point deadline)
        : socket_(socket), place_(place), announcement_(announcement), deadline_(deadline) {}

    Outcome<NbdExport> run();
    Outcome<void> wait_connected();

private:
    struct Reply {
        uint32_t type = 0;
        std::vector<std::byte> body;
    };

    Problem broken(const std::string& what) const {
        return Problem{Errc::io, place_.text + ": " + what};
    }
    Outcome<void> wait(short events);
    Outcome<void> receive(std::span<std::byte> into);
    Outcome<void> send(std::span<const std::byte> data);
    Outcome<void> send_option(uint32_t number, std::span<const std::byte> body);
    Outcome<Reply> receive_reply(uint32_t option);
    Outcome<void> announce();
    Outcome<void> send_go();
    Outcome<NbdExport> go();
    Outcome<bool> go_reply(NbdExport& found);
    Outcome<void> take_info(std::span<const std::byte> body, NbdExport& found);
    Outcome<NbdExport> by_export_name(bool no_zeroes);
    Problem refused(uint32_t type, std::span<const std::byte> message) const;
    Outcome<NbdExport> checked(NbdExport found) const;

    int socket_;
    const NbdPlace& place_;
    const NbdAnnouncement& announcement_;
    Clock::time_point deadline_;
    bool go_unsupported_ = false;
    bool size_known_ = false;
};

Outcome<void> Handshake::wait(short events) {
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now()).count();
        if (left <= 0) return Problem{Errc::timed_out, place_.text + ": no answer in time"};
        pollfd one{socket_, events, 0};
        const int ready = poll(&one, 1, static_cast<int>(left));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return broken(std::strerror(errno));
    }
}

Outcome<void> Handshake::wait_connected() {
    Outcome<void> ready = wait(POLLOUT);
    if (!ready.ok()) return ready;
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return Problem{error_from_errno(error, "").code, std::strerror(error)};
    return {};
}

Outcome<void> Handshake::receive(std::span<std::byte> into) {
    while (!into.empty()) {
        const ssize_t n = recv(socket_, into.data(), into.size(), 0);
        if (n == 0) return broken("the server closed the connection");
        if (n > 0) {
            into = into.subspan(static_cast<size_t>(n));
        } else if (errno == EAGAIN) {
            Outcome<void> ready = wait(POLLIN);
            if (!ready.ok()) return ready;
        } else if (errno != EINTR) {
            return broken(std::strerror(errno));
        }
    }
    return {};
}

Outcome<void> Handshake::send(std::span<const std::byte> data) {
    while (!data.empty()) {
        const ssize_t n = ::send(socket_, data.data(), data.size(), MSG_NOSIGNAL);
        if (n >= 0) {
            data = data.subspan(static_cast<size_t>(n));
        } else if (errno == EAGAIN) {
            Outcome<void> ready = wait(POLLOUT);
            if (!ready.ok()) return ready;
        } else if (errno != EINTR) {
            return broken(std::strerror(errno));
        }
    }
    return {};
}

Outcome<void> Handshake::send_option(uint32_t number, std::span<const std::byte> body) {
    wire::Option option;
    option.magic = wire::kOptionMagic;
    option.option = number;
    option.length = static_cast<uint32_t>(body.size());
    Outcome<void> sent = send(bytes_of(option));
    if (!sent.ok()) return sent;
    return send(body);
}

Outcome<Handshake::Reply> Handshake::receive_reply(uint32_t option) {
    wire::OptionReply header;
    Outcome<void> got = receive(writable_bytes_of(header));
    if (!got.ok()) return got.error();
    if (header.magic != wire::kOptionReplyMagic || header.option != option ||
        header.length > kOptionReplyBytesMax) {
        return broken("a malformed answer");
    }
    Reply reply{header.type, std::vector<std::byte>(header.length)};
    got = receive(reply.body);
    if (!got.ok()) return got.error();
    return reply;
}

// Before anything else, and its answer is waited for: requests may follow only then.
Outcome<void> Handshake::announce() {
    wire::Announcement announcement;
    std::ranges::copy(announcement_.session, announcement.session);
    announcement.generation = announcement_.generation;
    Outcome<void> sent = send_option(wire::kOptAnnounce, bytes_of(announcement));
    if (!sent.ok()) return sent;
    const Outcome<Reply> reply = receive_reply(wire::kOptAnnounce);
    if (!reply.ok()) return reply.error();
    const uint32_t type = reply.value().type;
    if (type == wire::kReplyAck || type == wire::kErrorUnsupported) return {};
    if ((type & wire::kReplyErrorBit) != 0) return refused(type, reply.value().body);
    return broken("a malformed answer");
}

Outcome<void> Handshake::send_go() {
    const std::string& name = place_.export_name;
    std::string body(4, '\0');
    const be32 name_bytes = static_cast<uint32_t>(name.size());
    std::memcpy(body.data(), &name_bytes, sizeof name_bytes);
    body += name;
    // Two requests for information.
    const be16 wanted[3] = {uint16_t{2}, wire::kInfoDescription, wire::kInfoBlockSize};
    body.append(reinterpret_cast<const char*>(wanted), sizeof wanted);
    return send_option(wire::kOptGo, std::as_bytes(std::span(body)));
}

Outcome<void> Handshake::take_info(std::span<const std::byte> body, NbdExport& found) {
    be16 type;
    if (body.size() < sizeof type) return broken("a malformed answer");
    std::memcpy(&type, body.data(), sizeof type);
    if (type == wire::kInfoExport) {
        wire::InfoExport info;
        if (body.size() != sizeof info) return broken("a malformed answer");
        std::memcpy(&info, body.data(), sizeof info);
        found.size = info.size;
        found.flags = info.flags;
        size_known_ = true;
    } else if (type == wire::kInfoBlockSize) {
        wire::InfoBlockSize info;
        if (body.size() != sizeof info) return broken("a malformed answer");
        std::memcpy(&info, body.data(), sizeof info);
        found.block_minimum = info.minimum;
        found.block_preferred = info.preferred;
        found.payload_maximum = info.maximum;
    } else if (type == wire::kInfoDescription) {
        const auto text = body.subspan(sizeof type);
        if (text.size() > kDescriptionBytesMax) return broken("a malformed answer");
        found.description.assign(reinterpret_cast<const char*>(text.data()), text.size());
    }
    return {};
}

Problem Handshake::refused(uint32_t type, std::span<const std::byte> message) const {
    std::string why = "refused by the server";
    Errc code = Errc::invalid;
    if (type == wire::kErrorUnknownExport) {
        why = "there is no export named '" + place_.export_name + "'";
        code = Errc::not_found;
    } else if (type == wire::kErrorPolicy) {
        code = Errc::permission;
    } else if (type == wire::kErrorTlsRequired) {
        why = "the server insists on TLS, which is not supported";
        code = Errc::unsupported;
    }
    const std::string said =
        printable({reinterpret_cast<const char*>(message.data()), message.size()});
    if (!said.empty()) why += " (" + said + ")";
    return Problem{code, place_.text + ": " + why};
}

// True when the option has been answered for good.
Outcome<bool> Handshake::go_reply(NbdExport& found) {
    const Outcome<Reply> got = receive_reply(wire::kOptGo);
    if (!got.ok()) return got.error();
    const Reply& reply = got.value();
    if (reply.type == wire::kReplyAck) return true;
    if (reply.type == wire::kErrorUnsupported) {
        go_unsupported_ = true;
        return true;
    }
    if ((reply.type & wire::kReplyErrorBit) != 0) return refused(reply.type, reply.body);
    if (reply.type == wire::kReplyInfo) {
        const Outcome<void> taken = take_info(reply.body, found);
        if (!taken.ok()) return taken.error();
    }
    return false;
}

Outcome<NbdExport> Handshake::go() {
    Outcome<void> sent = send_go();
    if (!sent.ok()) return sent.error();
    NbdExport found;
    for (int replies = 0; replies < kOptionRepliesMax; ++replies) {
        Outcome<bool> finished = go_reply(found);
        if (!finished.ok()) return finished.error();
        if (finished.value()) return found;
    }
    return broken("an endless answer");
}

// For servers older than NBD_OPT_GO.
Outcome<NbdExport> Handshake::by_export_name(bool no_zeroes) {
    Outcome<void> done =
        send_option(wire::kOptExportName, std::as_bytes(std::span(place_.export_name)));
    if (!done.ok()) return done.error();
    struct {
        be64 size;
        be16 flags;
    } answer;
    done = receive(writable_bytes_of(answer));
    if (!done.ok()) return done.error();
    if (!no_zeroes) {
        std::byte padding[124];
        done = receive(padding);
        if (!done.ok()) return done.error();
    }
    NbdExport found;
    found.size = answer.size;
    found.flags = answer.flags;
    size_known_ = true;
    return found;
}

Outcome<NbdExport> Handshake::checked(NbdExport found) const {
    if (!size_known_) return broken("the server did not tell the size");
    if (found.size == 0 || found.size > uint64_t{INT64_MAX}) {
        return broken("a size of " + std::to_string(found.size) + " bytes is of no use");
    }
    if (!std::has_single_bit(found.block_minimum) || !std::has_single_bit(found.block_preferred) ||
        found.block_preferred < found.block_minimum ||
        found.payload_maximum < found.block_preferred) {
        return broken("block sizes that make no sense");
    }
    return found;
}

Outcome<NbdExport> Handshake::run() {
    wire::Greeting greeting;
    Outcome<void> done = receive(writable_bytes_of(greeting));
    if (!done.ok()) return done.error();
    if (greeting.magic != wire::kMagic || greeting.option_magic != wire::kOptionMagic) {
        return broken("this is not a (newstyle) NBD server");
    }
    if ((greeting.flags & wire::kServerFixedNewstyle) == 0) {
        return broken("the server is too old: no fixed newstyle handshake");
    }
    const bool no_zeroes = (greeting.flags & wire::kServerNoZeroes) != 0;
    const be32 client_flags = wire::kServerFixedNewstyle | (no_zeroes ? wire::kServerNoZeroes : 0u);
    done = send(bytes_of(client_flags));
    if (done.ok()) done = announce();
    if (!done.ok()) return done.error();
    Outcome<NbdExport> found = go();
    if (found.ok() && go_unsupported_) found = by_export_name(no_zeroes);
    if (!found.ok()) return found.error();
    return checked(found.value());
}

void tune(int socket, int family) {
    const int on = 1;
    // A unix socket's sender is stopped by its own buffer alone; the default holds not even half
    // a megabyte-sized write. A refusal costs speed only.
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kSocketBufferBytes, sizeof kSocketBufferBytes);
    if (family == AF_UNIX) return;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    // A host that vanished is noticed: after 5 s of silence three probes, 2 s apart; data that
    // nobody acknowledges counts as well.
    const int idle_s = 5;
    const int interval_s = 2;
    const int probes = 3;
    const unsigned unacknowledged_ms = 11'000;
    setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

Outcome<NbdConnection> connect_to(const SocketAddress& address, const NbdPlace& place,
                                  const NbdAnnouncement& announcement, Clock::time_point deadline) {
    const auto unreachable = [&place](const std::string& why) {
        return Problem{Errc::closed, "cannot connect to " + place.text + ": " + why};
    };
    const int family = address.storage.ss_family;
    FileDescriptor made(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made.valid()) return unreachable(std::strerror(errno));
    tune(made.get(), family);
    Handshake handshake(made.get(), place, announcement, deadline);
    if (connect(made.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) !=
        0) {
        // EAGAIN is a unix socket whose queue is full.
        if (errno != EINPROGRESS) return unreachable(std::strerror(errno));
        Outcome<void> connected = handshake.wait_connected();
        if (!connected.ok()) return unreachable(connected.error().text);
    }
    Outcome<NbdExport> exported = handshake.run();
    if (!exported.ok()) return exported.error();
    return NbdConnection{std::move(made), exported.value(), announcement};
}

}  // namespace

bool NbdExport::read_only() const { return (flags & wire::kReadOnly) != 0; }
bool NbdExport::can_flush() const { return (flags & wire::kSendFlush) != 0; }
bool NbdExport::can_write_zeroes() const { return (flags & wire::kSendWriteZeroes) != 0; }

NbdAnnouncement new_session() {
    NbdAnnouncement made;
    // Within these sizes, once the system is up, it neither fails nor gives less.
    const ssize_t got = getrandom(made.session.data(), made.session.size(), 0);
    CHECK(got == static_cast<ssize_t>(made.session.size()));
    return made;
}

Outcome<NbdConnection> connect_nbd(const NbdPlace& place, const NbdAnnouncement& announcement,
                                   std::chrono::milliseconds limit) {
    const Clock::time_point deadline = Clock::now() + limit;
    Problem problem{Errc::not_found, place.text + ": no address"};
    for (const SocketAddress& address : place.addresses) {
        Outcome<NbdConnection> made = connect_to(address, place, announcement, deadline);
        if (made.ok()) return made;
        problem = made.error();
    }
    return problem;
}

std::string difference(const NbdExport& before, const NbdExport& now) {
    if (before.size != now.size) {
        return "its size is " + std::to_string(now.size) + " bytes instead of " +
               std::to_string(before.size);
    }
    // Gemel's server puts the volume's UUID there.
    if (!before.description.empty() && before.description != now.description) {
        return "it is '" + printable(now.description) + "' instead of '" +
               printable(before.description) + "'";
    }
    if (now.read_only() && !before.read_only()) return "it is read-only now";
    if (before.can_flush() && !now.can_flush()) return "it takes no flush any more";
    if (before.can_write_zeroes() && !now.can_write_zeroes()) {
        return "it takes no write-zeroes any more";
    }
    if (now.block_minimum > before.block_minimum) return "its blocks are larger now";
    if (now.payload_maximum < before.payload_maximum) return "its requests are smaller now";
    return "";
}

}  // namespace gemel::tools
