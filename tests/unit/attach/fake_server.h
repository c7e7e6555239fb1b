// SPDX-License-Identifier: Apache-2.0
//
// An NBD server for tests, in the test's own hands: a listening unix socket on which each step of
// the protocol is taken, or not, by a blocking call.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "tools/attach/nbd_uri.h"
#include "tools/attach/nbd_wire.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

class FakeServer {
public:
    FakeServer() {
        char folder[] = "/tmp/gemel-attach-test-XXXXXX";
        folder_ = mkdtemp(folder);
        path_ = folder_ + "/s";
        listen();
    }
    ~FakeServer() {
        die();
        rmdir(folder_.c_str());
    }

    void listen() {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        listener_.emplace(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(bind(listener_->get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(listener_->get(), 16), 0);
    }
    // As kill -9 would have it.
    void die() {
        client_.reset();
        listener_.reset();
        unlink(path_.c_str());
    }

    // False once refuse() was called.
    bool accept() {
        client_.emplace(accept4(listener_->get(), nullptr, nullptr, SOCK_CLOEXEC));
        return client_->valid();
    }
    // Ends a waiting accept(), from another thread.
    void refuse() { shutdown(listener_->get(), SHUT_RDWR); }
    void hang_up() { client_.reset(); }

    template <typename T>
    void send(const T& value) {
        send_bytes(bytes_of(value));
    }
    void send_bytes(std::span<const std::byte> data) {
        EXPECT_EQ(::send(client_->get(), data.data(), data.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(data.size()));
    }
    // Nothing once the client has closed.
    template <typename T>
    std::optional<T> receive() {
        T value;
        if (recv(client_->get(), &value, sizeof value, MSG_WAITALL) != sizeof value) {
            return std::nullopt;
        }
        return value;
    }
    std::vector<std::byte> receive_bytes(size_t length) {
        std::vector<std::byte> data(length);
        if (length > 0) {
            EXPECT_EQ(recv(client_->get(), data.data(), length, MSG_WAITALL),
                      static_cast<ssize_t>(length));
        }
        return data;
    }

    void send_greeting(uint16_t flags) {
        wire::Greeting greeting;
        greeting.magic = wire::kMagic;
        greeting.option_magic = wire::kOptionMagic;
        greeting.flags = flags;
        send(greeting);
    }
    // As far as the first option that every server knows.
    void greet(uint16_t flags = wire::kServerFixedNewstyle | wire::kServerNoZeroes) {
        greet_silently(flags);
        EXPECT_EQ(take_option(), wire::kOptAnnounce);
        announced.push_back(option_data);
        reply(wire::kErrorUnsupported);
    }
    void greet_silently(uint16_t flags = wire::kServerFixedNewstyle | wire::kServerNoZeroes) {
        send_greeting(flags);
        receive_bytes(4);
    }
    // The next option; its data is kept until the one after it.
    uint32_t take_option() {
        const std::optional<wire::Option> option = receive<wire::Option>();
        if (!option) return 0;
        option_data = receive_bytes(option->length);
        option_ = option->option;
        return option_;
    }
    // To the option taken last.
    void reply(uint32_t type, std::span<const std::byte> body = {}) {
        wire::OptionReply header;
        header.magic = wire::kOptionReplyMagic;
        header.option = option_;
        header.type = type;
        header.length = static_cast<uint32_t>(body.size());
        send(header);
        if (!body.empty()) send_bytes(body);
    }
    void export_info(uint64_t size, uint16_t flags) {
        wire::InfoExport info;
        info.type = wire::kInfoExport;
        info.size = size;
        info.flags = flags;
        reply(wire::kReplyInfo, bytes_of(info));
    }
    void description_info(const std::string& description) {
        std::vector<std::byte> info = bytes_from(be16(wire::kInfoDescription));
        const auto text = std::as_bytes(std::span(description));
        info.insert(info.end(), text.begin(), text.end());
        reply(wire::kReplyInfo, info);
    }
    // A whole handshake, as a good server does it.
    void open(uint64_t size, const std::string& description = "") {
        ASSERT_TRUE(accept());
        handshake(size, description);
    }
    void handshake(uint64_t size, const std::string& description = "") {
        greet();
        EXPECT_EQ(take_option(), wire::kOptGo);
        export_info(size, kGoodFlags);
        if (!description.empty()) description_info(description);
        reply(wire::kReplyAck);
    }
    // The next request, with its payload read.
    std::optional<wire::Request> take_request() {
        std::optional<wire::Request> request = receive<wire::Request>();
        if (request && request->command == wire::kCommandWrite) receive_bytes(request->length);
        return request;
    }
    void answer(const wire::Request& request, uint32_t error = 0) {
        wire::SimpleReply reply;
        reply.magic = wire::kSimpleReplyMagic;
        reply.error = error;
        reply.cookie = request.cookie;
        send(reply);
    }

    NbdPlace place() const {
        NbdUri uri;
        uri.socket_path = path_;
        uri.export_name = "v";
        return resolve(uri).value();
    }

    static constexpr uint16_t kGoodFlags =
        wire::kHasFlags | wire::kSendFlush | wire::kSendWriteZeroes;

    std::vector<std::byte> option_data;
    std::vector<std::vector<std::byte>> announced;  // By greet(), one for each connection.

private:
    template <typename T>
    static std::vector<std::byte> bytes_from(const T& value) {
        const auto bytes = bytes_of(value);
        return {bytes.begin(), bytes.end()};
    }

    uint32_t option_ = 0;
    std::string folder_;
    std::string path_;
    std::optional<FileDescriptor> listener_;
    std::optional<FileDescriptor> client_;
};

}  // namespace gemel::tools
