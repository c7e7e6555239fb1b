// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_netlink.h"

#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

#include "blockdev/assert.h"
#include "blockdev/bytes.h"

namespace gemel::tools {
namespace {

constexpr timeval kAnswerLimit{10, 0};

Problem problem_of(int error, const char* doing) {
    return Problem{error_from_errno(error, "").code,
                   std::string("kernel nbd: ") + doing + ": " + std::strerror(error)};
}

}  // namespace

// One request: headers and attributes, each padded to four bytes.
class NbdNetlink::Message {
public:
    Message(uint16_t family, uint8_t command, uint8_t version, const char* doing) : doing_(doing) {
        nlmsghdr header{};
        header.nlmsg_type = family;
        header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        append(&header, sizeof header);
        genlmsghdr generic{};
        generic.cmd = command;
        generic.version = version;
        append(&generic, sizeof generic);
    }

    void add(uint16_t type, const void* data, size_t length) {
        nlattr attribute{};
        attribute.nla_type = type;
        attribute.nla_len = static_cast<uint16_t>(sizeof attribute + length);
        append(&attribute, sizeof attribute);
        append(data, length);
    }
    void add_u32(uint16_t type, uint32_t value) { add(type, &value, sizeof value); }
    void add_u64(uint16_t type, uint64_t value) { add(type, &value, sizeof value); }
    void add_text(uint16_t type, const std::string& text) {
        add(type, text.c_str(), text.size() + 1);
    }
    // SOCKETS { ITEM { FD } }, each level with its own header.
    void add_socket(int socket) {
        const uint32_t number = static_cast<uint32_t>(socket);
        nlattr levels[2]{};
        levels[0].nla_type = NLA_F_NESTED | NBD_SOCK_ITEM;
        levels[0].nla_len = 2 * sizeof(nlattr) + sizeof number;
        levels[1].nla_type = NBD_SOCK_FD;
        levels[1].nla_len = sizeof(nlattr) + sizeof number;
        std::array<std::byte, 2 * sizeof(nlattr) + sizeof number> nested;
        std::memcpy(nested.data(), levels, sizeof levels);
        std::memcpy(nested.data() + sizeof levels, &number, sizeof number);
        add(NLA_F_NESTED | NBD_ATTR_SOCKETS, nested.data(), nested.size());
    }

    std::span<const std::byte> finished() {
        const uint32_t length = static_cast<uint32_t>(bytes_.size());
        std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
        return bytes_;
    }
    const char* doing() const { return doing_; }

private:
    void append(const void* data, size_t length) {
        const std::byte* const from = static_cast<const std::byte*>(data);
        bytes_.insert(bytes_.end(), from, from + length);
        bytes_.resize(round_up(bytes_.size(), NLA_ALIGNTO));
    }

    std::vector<std::byte> bytes_;
    const char* doing_;
};

namespace {

// A number of two or four bytes in the attribute `wanted` of a generic message's body.
std::optional<uint32_t> number_in(std::span<const std::byte> body, uint16_t wanted) {
    while (body.size() >= sizeof(nlattr)) {
        nlattr attribute;
        std::memcpy(&attribute, body.data(), sizeof attribute);
        if (attribute.nla_len < sizeof attribute || attribute.nla_len > body.size()) break;
        const size_t length = attribute.nla_len - sizeof attribute;
        const std::byte* const data = body.data() + sizeof attribute;
        if ((attribute.nla_type & NLA_TYPE_MASK) == wanted) {
            uint16_t half = 0;
            uint32_t whole = 0;
            if (length == sizeof half) {
                std::memcpy(&half, data, sizeof half);
                return half;
            }
            if (length == sizeof whole) {
                std::memcpy(&whole, data, sizeof whole);
                return whole;
            }
        }
        body = body.subspan(std::min<size_t>(body.size(), round_up(attribute.nla_len, 4)));
    }
    return std::nullopt;
}

}  // namespace

Outcome<uint32_t> NbdNetlink::ask(int socket, Message& message, uint16_t wanted) {
    const std::span<const std::byte> request = message.finished();
    if (send(socket, request.data(), request.size(), 0) < 0) {
        return problem_of(errno, message.doing());
    }
    uint32_t number = 0;
    for (;;) {
        alignas(nlmsghdr) std::array<std::byte, 8192> buffer;
        const ssize_t n = recv(socket, buffer.data(), buffer.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return problem_of(errno, message.doing());
        std::span<const std::byte> left(buffer.data(), static_cast<size_t>(n));
        while (left.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header;
            std::memcpy(&header, left.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > left.size()) break;
            const std::span body = left.subspan(sizeof header, header.nlmsg_len - sizeof header);
            if (header.nlmsg_type == NLMSG_ERROR && body.size() >= sizeof(int32_t)) {
                int32_t verdict = 0;
                std::memcpy(&verdict, body.data(), sizeof verdict);
                if (verdict != 0) return problem_of(-verdict, message.doing());
                return number;
            }
            if (body.size() >= sizeof(genlmsghdr)) {
                number = number_in(body.subspan(sizeof(genlmsghdr)), wanted).value_or(number);
            }
            left = left.subspan(std::min<size_t>(left.size(), round_up(header.nlmsg_len, 4)));
        }
    }
}

Outcome<uint16_t> NbdNetlink::find_family(int socket) {
    Message message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, "not in this kernel");
    message.add_text(CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME);
    const Outcome<uint32_t> found = ask(socket, message, CTRL_ATTR_FAMILY_ID);
    if (!found.ok()) return found.error();
    return static_cast<uint16_t>(found.value());
}

Outcome<NbdNetlink> NbdNetlink::open() {
    FileDescriptor made(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC));
    if (!made.valid()) return problem_of(errno, "no netlink");
    setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerLimit, sizeof kAnswerLimit);
    const Outcome<uint16_t> family = find_family(made.get());
    if (!family.ok()) return family.error();
    return NbdNetlink(std::move(made), family.value());
}

Outcome<uint32_t> NbdNetlink::connect(const Plan& plan) {
    Message message(family_, NBD_CMD_CONNECT, NBD_GENL_VERSION, "cannot connect a device");
    message.add_u64(NBD_ATTR_SIZE_BYTES, plan.size);
    message.add_u64(NBD_ATTR_BLOCK_SIZE_BYTES, plan.block_size);
    message.add_u64(NBD_ATTR_TIMEOUT, plan.request_timeout_s);
    message.add_u64(NBD_ATTR_SERVER_FLAGS, plan.server_flags);
    message.add_u64(NBD_ATTR_DEAD_CONN_TIMEOUT, plan.dead_timeout_s);
    message.add_text(NBD_ATTR_BACKEND_IDENTIFIER, plan.identifier);
    message.add_socket(plan.socket);
    return ask(socket_.get(), message, NBD_ATTR_INDEX);
}

Outcome<void> NbdNetlink::reconnect(uint32_t index, int socket, const std::string& identifier) {
    Message message(family_, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION, "cannot reconnect");
    message.add_u32(NBD_ATTR_INDEX, index);
    message.add_text(NBD_ATTR_BACKEND_IDENTIFIER, identifier);
    message.add_socket(socket);
    const Outcome<uint32_t> done = ask(socket_.get(), message, NBD_ATTR_INDEX);
    if (!done.ok()) return done.error();
    return {};
}

Outcome<void> NbdNetlink::disconnect(uint32_t index) {
    Message message(family_, NBD_CMD_DISCONNECT, NBD_GENL_VERSION, "cannot disconnect");
    message.add_u32(NBD_ATTR_INDEX, index);
    const Outcome<uint32_t> done = ask(socket_.get(), message, NBD_ATTR_INDEX);
    if (!done.ok()) return done.error();
    return {};
}

}  // namespace gemel::tools
