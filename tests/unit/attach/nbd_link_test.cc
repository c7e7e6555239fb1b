// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <deque>
#include <optional>
#include <vector>

namespace gemel::tools {
namespace {

using testing::ElementsAre;

class Request final : public NbdRequest {
public:
    Request(uint16_t what, uint64_t at, std::vector<std::byte> bytes) : written(std::move(bytes)) {
        command = what;
        offset = at;
        length = static_cast<uint32_t>(written.size());
        if (what == wire::kCommandWrite) payload = written.data();
    }
    void done(int error, std::span<const std::byte> data) override {
        ++times;
        result = error;
        read.assign(data.begin(), data.end());
    }

    std::vector<std::byte> written;
    std::vector<std::byte> read;
    int times = 0;
    int result = -1;
};

// The link and the server's end of its socket; everything happens in one thread.
class NbdLinkTest : public testing::Test {
protected:
    NbdLinkTest() { connect(); }

    void connect() {
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
        link.connect(FileDescriptor(ends[0]));
        server.emplace(ends[1]);
    }

    Request& submit(uint16_t command, uint64_t offset, size_t length) {
        const std::byte fill = static_cast<std::byte>(offset);
        Request& made =
            requests.emplace_back(command, offset, std::vector<std::byte>(length, fill));
        link.submit(made);
        return made;
    }

    // What the server can read now, up to `limit` bytes.
    std::vector<std::byte> arrived(size_t limit) {
        std::vector<std::byte> data(limit);
        const ssize_t n = recv(server->get(), data.data(), limit, 0);
        data.resize(n > 0 ? static_cast<size_t>(n) : 0);
        return data;
    }

    std::vector<wire::Request> arrived_requests() {
        EXPECT_TRUE(link.send());
        std::vector<wire::Request> found;
        for (;;) {
            wire::Request one;
            if (recv(server->get(), &one, sizeof one, 0) != sizeof one) return found;
            if (one.command == wire::kCommandWrite) {
                EXPECT_EQ(arrived(one.length).size(), one.length);
            }
            found.push_back(one);
        }
    }

    void answer(uint64_t cookie, uint32_t error, std::vector<std::byte> data = {}) {
        wire::SimpleReply reply;
        reply.magic = wire::kSimpleReplyMagic;
        reply.error = error;
        reply.cookie = cookie;
        const std::span<const std::byte> header = bytes_of(reply);
        data.insert(data.begin(), header.begin(), header.end());
        ASSERT_EQ(send(server->get(), data.data(), data.size(), 0),
                  static_cast<ssize_t>(data.size()));
    }

    static std::vector<uint64_t> offsets(const std::vector<wire::Request>& all) {
        std::vector<uint64_t> found;
        for (const wire::Request& each : all) found.push_back(each.offset);
        return found;
    }

    NbdLink link{8, 64u << 10};
    std::optional<FileDescriptor> server;
    std::deque<Request> requests;
};

TEST_F(NbdLinkTest, CarriesRequestsAndAnswersInAnyOrder) {
    Request& write = submit(wire::kCommandWrite, 1, 4096);
    Request& read = submit(wire::kCommandRead, 2, 512);
    const std::vector<wire::Request> sent = arrived_requests();
    ASSERT_EQ(sent.size(), 2u);
    EXPECT_EQ(sent[0].magic, wire::kRequestMagic);
    answer(sent[1].cookie, 0, std::vector<std::byte>(512, std::byte{9}));
    answer(sent[0].cookie, ENOSPC);
    EXPECT_TRUE(link.receive());
    EXPECT_EQ(write.result, ENOSPC);
    EXPECT_EQ(read.result, 0);
    EXPECT_EQ(read.read, std::vector<std::byte>(512, std::byte{9}));
    EXPECT_TRUE(link.idle());
    EXPECT_EQ(link.answers(), 2u);
}

TEST_F(NbdLinkTest, SendsUnansweredRequestsAgainInTheirOrder) {
    submit(wire::kCommandWrite, 1, 4096);
    Request& answered = submit(wire::kCommandWrite, 2, 4096);
    submit(wire::kCommandWrite, 3, 4096);
    const std::vector<wire::Request> first = arrived_requests();
    answer(first[1].cookie, 0);
    ASSERT_TRUE(link.receive());
    server.reset();
    EXPECT_FALSE(link.receive());
    link.disconnect();
    submit(wire::kCommandFlush, 4, 0);
    connect();
    EXPECT_THAT(offsets(arrived_requests()), ElementsAre(1, 3, 4));
    EXPECT_EQ(answered.times, 1);
    EXPECT_EQ(link.unanswered(), 3u);
}

TEST_F(NbdLinkTest, ARequestCutInTheMiddleBeginsAnewOnTheNextConnection) {
    submit(wire::kCommandWrite, 7, 4096);
    ASSERT_TRUE(link.send());
    ASSERT_EQ(arrived(1000).size(), 1000u);
    link.disconnect();
    connect();
    const std::vector<wire::Request> again = arrived_requests();
    ASSERT_EQ(again.size(), 1u);
    EXPECT_EQ(again[0].offset, 7u);
}

TEST_F(NbdLinkTest, ManyMegabytesPassAFullSocket) {
    NbdLink wide(8, 64u << 10);
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    wide.connect(FileDescriptor(ends[0]));
    server.emplace(ends[1]);
    constexpr size_t kEach = 1u << 20;
    for (uint64_t i = 0; i < 8; ++i) {
        Request& made = requests.emplace_back(
            wire::kCommandWrite, i, std::vector<std::byte>(kEach, static_cast<std::byte>(i + 1)));
        wide.submit(made);
    }
    std::vector<std::byte> all;
    while (wide.wants_to_send() || all.size() < 8 * (kEach + sizeof(wire::Request))) {
        ASSERT_TRUE(wide.send());
        const std::vector<std::byte> more = arrived(300'000);
        all.insert(all.end(), more.begin(), more.end());
    }
    for (size_t i = 0; i < 8; ++i) {
        const size_t at = i * (kEach + sizeof(wire::Request)) + sizeof(wire::Request);
        EXPECT_EQ(all[at], static_cast<std::byte>(i + 1));
        EXPECT_EQ(all[at + kEach - 1], static_cast<std::byte>(i + 1));
    }
}

TEST_F(NbdLinkTest, AnAnswerInPiecesIsPutTogether) {
    Request& read = submit(wire::kCommandRead, 0, 64u << 10);
    const std::vector<wire::Request> sent = arrived_requests();
    wire::SimpleReply reply;
    reply.magic = wire::kSimpleReplyMagic;
    reply.error = 0u;
    reply.cookie = sent[0].cookie;
    std::vector<std::byte> stream(bytes_of(reply).begin(), bytes_of(reply).end());
    stream.resize(stream.size() + (64u << 10), std::byte{5});
    for (size_t at = 0; at < stream.size(); at += 7001) {
        EXPECT_EQ(read.times, 0);
        const size_t n = std::min<size_t>(7001, stream.size() - at);
        ASSERT_EQ(send(server->get(), stream.data() + at, n, 0), static_cast<ssize_t>(n));
        ASSERT_TRUE(link.receive());
    }
    EXPECT_EQ(read.times, 1);
    EXPECT_EQ(read.read, std::vector<std::byte>(64u << 10, std::byte{5}));
}

TEST_F(NbdLinkTest, GarbageEndsTheConnectionAndKeepsTheRequests) {
    Request& write = submit(wire::kCommandWrite, 1, 512);
    const uint64_t cookie = arrived_requests()[0].cookie;
    answer(cookie + (uint64_t{1} << 32), 0);  // An earlier user of this slot.
    EXPECT_FALSE(link.receive());
    link.disconnect();
    connect();
    ASSERT_EQ(arrived_requests().size(), 1u);
    answer(uint64_t{7}, 0);  // A slot in use by nobody.
    EXPECT_FALSE(link.receive());
    link.disconnect();
    connect();
    answer(cookie, 0);  // Not sent yet on this connection.
    EXPECT_FALSE(link.receive());
    link.disconnect();
    connect();
    ASSERT_EQ(arrived_requests().size(), 1u);
    const char noise[16] = "not a reply   ";
    ASSERT_EQ(send(server->get(), noise, sizeof noise, 0), 16);
    EXPECT_FALSE(link.receive());
    EXPECT_EQ(write.times, 0);
}

TEST_F(NbdLinkTest, AServerThatShutsDownHasNotDoneTheRequest) {
    Request& write = submit(wire::kCommandWrite, 1, 512);
    answer(arrived_requests()[0].cookie, wire::kErrorShutdown);
    EXPECT_FALSE(link.receive());
    EXPECT_EQ(write.times, 0);
    EXPECT_EQ(link.unanswered(), 1u);
}

TEST_F(NbdLinkTest, UnknownErrorsBecomeIoErrors) {
    Request& write = submit(wire::kCommandWrite, 1, 512);
    answer(arrived_requests()[0].cookie, 9999);
    EXPECT_TRUE(link.receive());
    EXPECT_EQ(write.result, EIO);
}

TEST_F(NbdLinkTest, FailingAllBeginsWithTheOldest) {
    Request& first = submit(wire::kCommandWrite, 1, 512);
    Request& second = submit(wire::kCommandRead, 2, 512);
    link.disconnect();
    link.fail_all(EIO);
    EXPECT_EQ(first.result, EIO);
    EXPECT_EQ(second.result, EIO);
    EXPECT_TRUE(link.idle());
    connect();
    EXPECT_TRUE(arrived_requests().empty());
}

}  // namespace
}  // namespace gemel::tools
