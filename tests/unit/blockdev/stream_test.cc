// SPDX-License-Identifier: Apache-2.0
#include "blockdev/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "tests/unit/net/net_fixture.h"

namespace gemel {
namespace {

TEST(Address, ParsesWhatItPrints) {
    for (const char* text :
         {"unix:/run/a b.sock", "unix:s", "127.0.0.1:10809", "localhost:0", "[::1]:65535"}) {
        const auto address = Address::parse(text);
        ASSERT_TRUE(address.ok()) << text;
        EXPECT_EQ(address.value().text(), text);
    }
    EXPECT_EQ(Address::parse("[::1]:65535").value().host, "::1");
}

TEST(Address, RefusesWhatIsNone) {
    for (const char* text : {"", "unix:", "host", "host:", ":1", "host:65536", "host:-1", "host:1x",
                             "::1:80", "[]:1", "host: 1"}) {
        const auto address = Address::parse(text);
        EXPECT_FALSE(address.ok()) << text;
        if (!address.ok()) { EXPECT_NE(address.error().text.find("unix:PATH"), std::string::npos); }
    }
}

class StreamTest : public NetTest {
protected:
    using Pair = std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>>;

    Task<void> accept_one(Listener& listener, Pair& pair) {
        auto accepted = co_await listener.accept();
        EXPECT_TRUE(accepted.ok());
        if (accepted.ok()) pair.first = std::move(accepted).value();
    }

    // The accepted end, and the connecting one.
    Task<Pair> connect(Listener& listener) {
        Pair pair;
        Scope scope(env());
        scope.start(accept_one(listener, pair));
        auto connected = co_await env().connect(listener.address());
        EXPECT_TRUE(connected.ok());
        if (connected.ok()) pair.second = std::move(connected).value();
        co_await scope.join();
        co_return pair;
    }

    Task<void> send(Stream& stream, std::span<const IoSegment> segments) {
        const Status status = co_await stream.send_segments(segments);
        sent_ok_ = status.ok();
        send_ended_ = true;
    }
    Task<void> receive_once(Stream& stream) {
        std::byte byte;
        const auto result = co_await stream.receive({&byte, 1});
        received_nothing_ = !result.ok() || result.value() == 0;
    }
    Task<void> accept_until_closed(Listener& listener) {
        const auto accepted = co_await listener.accept();
        accept_closed_ = !accepted.ok() && accepted.error().code == Errc::closed;
    }

    Task<void> transfers(Address address);
    Task<void> shutdown_ends_everything(Address address);
    Task<void> closing_is_seen(Address address);
    Task<void> close_ends_accept(Address address);
    Task<void> connect_to_nobody();
    std::string refusal(const Address& address) {
        auto listener = env().listen(address);
        EXPECT_FALSE(listener.ok());
        return listener.ok() ? "" : listener.error().text;
    }

    static Address tcp() { return {.unix_path = "", .host = "127.0.0.1", .port = 0}; }

    bool sent_ok_ = false;
    bool send_ended_ = false;
    bool received_nothing_ = false;
    bool accept_closed_ = false;
};

// Many odd segments, more than any socket buffer holds, to a reader that takes little at a time.
Task<void> StreamTest::transfers(Address address) {
    const auto listener = listen(address);
    if (listener == nullptr) co_return;
    Pair pair = co_await connect(*listener);
    if (pair.first == nullptr || pair.second == nullptr) co_return;
    EXPECT_FALSE(pair.first->peer().empty());
    std::vector<std::byte> data(24 << 20);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 >> 4);
    std::vector<IoSegment> segments;
    for (size_t at = 0; at < data.size();) {
        const size_t length = std::min(data.size() - at, 100001 * (segments.size() % 3 + 1));
        segments.push_back({data.data() + at, length});
        at += length;
    }
    Scope scope(env());
    scope.start(send(*pair.first, segments));
    std::vector<std::byte> got(data.size());
    size_t have = 0;
    while (have < got.size()) {
        const auto room = std::span(got).subspan(have, std::min(got.size() - have, size_t{70001}));
        const auto received = co_await pair.second->receive(room);
        if (!received.ok() || received.value() == 0) break;
        have += received.value();
    }
    co_await scope.join();
    EXPECT_TRUE(sent_ok_);
    EXPECT_EQ(have, data.size());
    EXPECT_TRUE(got == data);
    listener->close();
}
TEST_F(StreamTest, UnixTransfersEverything) { env().run(transfers(unix_address())); }
TEST_F(StreamTest, TcpTransfersEverything) { env().run(transfers(tcp())); }

Task<void> StreamTest::shutdown_ends_everything(Address address) {
    const auto listener = listen(address);
    if (listener == nullptr) co_return;
    Pair pair = co_await connect(*listener);
    if (pair.first == nullptr || pair.second == nullptr) co_return;
    std::vector<std::byte> data(64 << 20);
    const IoSegment segment{data.data(), data.size()};
    Scope scope(env());
    scope.start(send(*pair.first, {&segment, 1}));
    scope.start(receive_once(*pair.first));
    co_await sleep_for(env(), kMillisecond);
    EXPECT_FALSE(send_ended_);
    pair.first->shutdown();
    co_await scope.join();
    EXPECT_FALSE(sent_ok_);
    EXPECT_TRUE(received_nothing_);
    const Status later = co_await pair.first->send(std::span(data).first(1));
    EXPECT_FALSE(later.ok());
    listener->close();
}
TEST_F(StreamTest, UnixShutdownEndsWhatIsPending) {
    env().run(shutdown_ends_everything(unix_address()));
}
TEST_F(StreamTest, TcpShutdownEndsWhatIsPending) { env().run(shutdown_ends_everything(tcp())); }

Task<void> StreamTest::closing_is_seen(Address address) {
    const auto listener = listen(address);
    if (listener == nullptr) co_return;
    Pair pair = co_await connect(*listener);
    if (pair.first == nullptr || pair.second == nullptr) co_return;
    EXPECT_FALSE(pair.first->peer_closed());
    std::byte bytes[3] = {std::byte{1}, std::byte{2}, std::byte{3}};
    const Status sent = co_await pair.second->send(bytes);
    EXPECT_TRUE(sent.ok());
    EXPECT_FALSE(pair.first->peer_closed());
    pair.second.reset();
    const uint64_t patience = env().now_ns() + kTestPatienceNs;
    while (!pair.first->peer_closed() && env().now_ns() < patience) {
        co_await sleep_for(env(), kMillisecond);
    }
    EXPECT_TRUE(pair.first->peer_closed());
    // What was sent before is still there.
    std::byte got[8];
    auto received = co_await pair.first->receive(got);
    EXPECT_TRUE(received.ok());
    if (received.ok()) { EXPECT_EQ(received.value(), 3u); }
    received = co_await pair.first->receive(got);
    EXPECT_TRUE(!received.ok() || received.value() == 0);
    listener->close();
}
TEST_F(StreamTest, UnixClosingIsSeenBeforeTheLastByte) {
    env().run(closing_is_seen(unix_address()));
}
TEST_F(StreamTest, TcpClosingIsSeenBeforeTheLastByte) { env().run(closing_is_seen(tcp())); }

Task<void> StreamTest::close_ends_accept(Address address) {
    const auto listener = listen(address);
    if (listener == nullptr) co_return;
    Scope scope(env());
    scope.start(accept_until_closed(*listener));
    co_await sleep_for(env(), kMillisecond);
    EXPECT_FALSE(accept_closed_);
    listener->close();
    co_await scope.join();
    EXPECT_TRUE(accept_closed_);
    accept_closed_ = false;
    co_await accept_until_closed(*listener);
    EXPECT_TRUE(accept_closed_);
}
TEST_F(StreamTest, UnixCloseEndsAccept) { env().run(close_ends_accept(unix_address())); }
TEST_F(StreamTest, TcpCloseEndsAccept) { env().run(close_ends_accept(tcp())); }

Task<void> StreamTest::connect_to_nobody() {
    auto connected = co_await env().connect(unix_address("nobody"));
    EXPECT_FALSE(connected.ok());
    Address gone = tcp();
    {
        const auto listener = listen(gone);
        if (listener == nullptr) co_return;
        gone = listener->address();
        EXPECT_NE(gone.port, 0);
    }
    connected = co_await env().connect(gone);
    EXPECT_FALSE(connected.ok());
    if (!connected.ok()) { EXPECT_EQ(connected.error().code, Errc::closed); }
}
TEST_F(StreamTest, ConnectingToNobodyFails) { env().run(connect_to_nobody()); }

TEST_F(StreamTest, ALongSocketPathIsRefusedWithItsLength) {
    const std::string name(110 - folder().size() - 1, 'x');
    const Address address = unix_address(name);
    ASSERT_EQ(address.unix_path.size(), 110u);
    const std::string text = refusal(address);
    EXPECT_NE(text.find("110"), std::string::npos) << text;
    EXPECT_NE(text.find("107"), std::string::npos) << text;
    EXPECT_NE(listen(unix_address(name.substr(3))), nullptr);
}

TEST_F(StreamTest, ALiveSocketIsRefused) {
    const auto listener = listen(unix_address());
    const std::string text = refusal(unix_address());
    EXPECT_NE(text.find("in use by another process"), std::string::npos) << text;
}

TEST_F(StreamTest, AStaleSocketIsReplaced) {
    const Address address = unix_address();
    const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    std::strcpy(un.sun_path, address.unix_path.c_str());
    ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&un), sizeof un), 0);
    close(dead);
    EXPECT_NE(listen(address), nullptr);
}

TEST_F(StreamTest, WhatIsNoSocketStays) {
    const Address address = unix_address();
    std::ofstream(address.unix_path) << "precious";
    const std::string text = refusal(address);
    EXPECT_NE(text.find("no socket"), std::string::npos) << text;
    EXPECT_TRUE(std::filesystem::is_regular_file(address.unix_path));
}

TEST_F(StreamTest, TheSocketFileIsTheOwnersAloneAndGoesAgain) {
    const Address address = unix_address();
    {
        const auto listener = listen(address);
        struct stat info{};
        ASSERT_EQ(stat(address.unix_path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 077, 0u);
    }
    EXPECT_FALSE(std::filesystem::exists(address.unix_path));
}

TEST_F(StreamTest, SomebodyElsesSocketFileIsLeftAlone) {
    const Address address = unix_address();
    auto listener = listen(address);
    std::filesystem::remove(address.unix_path);
    const auto other = listen(address);
    listener.reset();
    EXPECT_TRUE(std::filesystem::exists(address.unix_path));
}

TEST_F(StreamTest, AMissingFolderIsNamed) {
    const std::string text = refusal(unix_address("no/such"));
    EXPECT_NE(text.find(folder()), std::string::npos) << text;
}

TEST_F(StreamTest, AUsedPortIsRefused) {
    const auto listener = listen(tcp());
    ASSERT_NE(listener, nullptr);
    const std::string text = refusal(listener->address());
    EXPECT_NE(text.find("in use"), std::string::npos) << text;
}

}  // namespace
}  // namespace gemel
