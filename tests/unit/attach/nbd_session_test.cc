// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <thread>

#include "tests/unit/attach/fake_server.h"

namespace gemel::tools {
namespace {

using testing::ElementsAre;

constexpr uint64_t kSize = 1u << 20;
constexpr std::chrono::seconds kPatience{60};

class Request final : public NbdRequest {
public:
    explicit Request(uint64_t at) : bytes(512, static_cast<std::byte>(at)) {
        command = wire::kCommandWrite;
        offset = at;
        length = 512;
        payload = bytes.data();
    }
    void done(int error, std::span<const std::byte>) override { result = error; }
    bool finished() const { return result >= 0; }

    std::vector<std::byte> bytes;
    int result = -1;
};

// A session on a fake server. The server's side runs in threads of the tests' own.
class NbdSessionTest : public testing::Test {
protected:
    void begin(std::chrono::milliseconds timeout, const std::string& description = "") {
        std::thread thread([this, description] { server.open(kSize, description); });
        Outcome<NbdConnection> made = connect_nbd(server.place(), new_session(), kPatience);
        thread.join();
        ASSERT_TRUE(made.ok()) << made.error().text;
        session.emplace(server.place(), std::move(made).value(),
                        NbdSession::Limits{16, 4096, timeout}, log);
    }

    Request& submit(uint64_t offset) {
        Request& made = requests.emplace_back(offset);
        session->submit(made);
        return made;
    }

    void turn() {
        std::vector<pollfd> polls;
        session->add_polls(polls);
        poll(polls.data(), polls.size(), 5);
        session->turn(polls);
    }
    void turn_until(const std::function<bool()>& condition) {
        const auto deadline = NbdSession::Clock::now() + kPatience;
        while (!condition() && NbdSession::Clock::now() < deadline) turn();
        ASSERT_TRUE(condition());
    }

    std::vector<uint64_t> take_offsets(size_t count) {
        std::vector<uint64_t> found;
        taken.clear();
        while (found.size() < count) {
            const std::optional<wire::Request> request = server.take_request();
            if (!request) return found;
            taken.push_back(*request);
            found.push_back(request->offset);
        }
        return found;
    }

    FakeServer server;
    DaemonLog log{"/dev/null"};
    std::deque<Request> requests;
    std::vector<wire::Request> taken;
    std::optional<NbdSession> session;
};

TEST_F(NbdSessionTest, ResendsInOrderToTheServerThatComesBack) {
    begin(kPatience);
    submit(1);
    submit(2);
    submit(3);
    turn();
    EXPECT_THAT(take_offsets(3), ElementsAre(1, 2, 3));
    server.answer(taken[1]);
    turn_until([&] { return requests[1].finished(); });
    server.die();
    turn_until([&] { return !session->connected(); });
    submit(4);
    turn();
    server.listen();
    std::thread thread([this] {
        server.open(kSize);
        EXPECT_THAT(take_offsets(3), ElementsAre(1, 3, 4));
        for (const wire::Request& each : taken) server.answer(each);
    });
    turn_until(
        [&] { return requests[0].finished() && requests[2].finished() && requests[3].finished(); });
    thread.join();
    for (const Request& each : requests) EXPECT_EQ(each.result, 0);
    EXPECT_FALSE(session->deadline().has_value());
}

TEST_F(NbdSessionTest, NeverHasTwoConnections) {
    begin(kPatience);
    submit(1);
    turn();
    ASSERT_THAT(take_offsets(1), ElementsAre(1));
    // Garbage makes the session give up a connection that is still whole.
    server.send_bytes(std::vector<std::byte>(16, std::byte{1}));
    turn_until([&] { return !session->connected(); });
    EXPECT_FALSE(server.take_request().has_value()) << "the old connection is not closed";
    std::thread thread([this] { server.open(kSize); });
    turn_until([&] { return session->connected(); });
    thread.join();
    turn();
    EXPECT_THAT(take_offsets(1), ElementsAre(1));
}

TEST_F(NbdSessionTest, FailsAfterTheTimeoutAndRecovers) {
    begin(std::chrono::milliseconds(100));
    server.die();
    Request& waiting = submit(1);
    turn_until([&] { return waiting.finished(); });
    EXPECT_EQ(waiting.result, EIO);
    EXPECT_EQ(submit(2).result, EIO) << "no second wait";
    server.listen();
    std::thread thread([this] {
        server.open(kSize);
        EXPECT_THAT(take_offsets(1), ElementsAre(3)) << "what failed is not sent any more";
        server.answer(taken[0]);
    });
    turn_until([&] { return session->connected(); });
    Request& later = submit(3);
    turn_until([&] { return later.finished(); });
    thread.join();
    EXPECT_EQ(later.result, 0);
}

TEST_F(NbdSessionTest, AServerThatDiesOfARequestDoesNotHoldItForEver) {
    begin(std::chrono::milliseconds(300));
    Request& deadly = submit(1);
    std::thread thread([&] {
        do {
            server.take_request();
            server.hang_up();
            if (!server.accept()) return;
            server.handshake(kSize);
        } while (true);
    });
    turn_until([&] { return deadly.finished(); });
    EXPECT_EQ(deadly.result, EIO);
    session.reset();
    server.refuse();
    thread.join();
}

// It may be gone again before the timeout: then no request has failed.
TEST_F(NbdSessionTest, AnotherDeviceInItsPlaceGetsNothing) {
    begin(kPatience, "gemel a");
    Request& write = submit(1);
    turn();
    take_offsets(1);
    server.hang_up();
    std::thread thread([this] {
        server.open(2 * kSize, "gemel a");
        EXPECT_FALSE(server.take_request().has_value()) << "of another size";
        server.open(kSize, "gemel b");
        EXPECT_FALSE(server.take_request().has_value()) << "another volume";
        server.open(kSize, "gemel a");
        EXPECT_THAT(take_offsets(1), ElementsAre(1));
        server.answer(taken[0]);
    });
    turn_until([&] { return write.finished(); });
    thread.join();
    EXPECT_EQ(write.result, 0);
}

TEST_F(NbdSessionTest, AnotherDeviceIsNotWaitedOutForEver) {
    begin(std::chrono::milliseconds(100), "gemel a");
    Request& write = submit(1);
    server.hang_up();
    std::thread thread([this] {
        while (server.accept()) {
            server.handshake(kSize, "gemel b");
            EXPECT_FALSE(server.take_request().has_value());
        }
    });
    turn_until([&] { return write.finished(); });
    EXPECT_EQ(write.result, EIO);
    session.reset();
    server.refuse();
    thread.join();
}

TEST_F(NbdSessionTest, EveryConnectionIsAnnouncedAsALaterOneOfItsSession) {
    begin(kPatience);
    for (int i = 0; i < 3; ++i) {
        server.hang_up();
        turn_until([&] { return !session->connected(); });
        std::thread thread([this] { server.open(kSize); });
        turn_until([&] { return session->connected(); });
        thread.join();
    }
    ASSERT_EQ(server.announced.size(), 4u);
    for (size_t i = 0; i < 4; ++i) {
        wire::Announcement announcement;
        ASSERT_EQ(server.announced[i].size(), sizeof announcement);
        std::memcpy(&announcement, server.announced[i].data(), sizeof announcement);
        EXPECT_EQ(std::memcmp(announcement.session, server.announced[0].data(), 16), 0);
        EXPECT_EQ(announcement.generation.get(), i);
    }
}

TEST_F(NbdSessionTest, FinishingIsBoundedWithASilentServer) {
    begin(kPatience);
    Request& flush = submit(1);
    turn();
    session->finish_within(std::chrono::milliseconds(50));
    turn_until([&] { return flush.finished(); });
    EXPECT_EQ(flush.result, EIO);
    EXPECT_EQ(submit(2).result, EIO);
}

TEST_F(NbdSessionTest, CarriesOnAfterARefusedDetach) {
    begin(kPatience);
    session->finish_within(std::chrono::milliseconds(1));
    turn_until([&] { return !session->connected(); });
    session->carry_on();
    std::thread thread([this] { server.open(kSize); });
    turn_until([&] { return session->connected(); });
    thread.join();
}

}  // namespace
}  // namespace gemel::tools
