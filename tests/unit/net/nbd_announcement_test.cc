// SPDX-License-Identifier: Apache-2.0
//
// Clients that announce themselves (net/nbd_registry.h): what came on their older connections and
// was not begun is never carried out. No test here lets the server see that the old client has
// closed, as it is with a TCP connection whose FIN queues behind unread requests.
#include <gtest/gtest.h>

#include "net/nbd_connection.h"
#include "tests/unit/net/nbd_server_fixture.h"
#include "tests/unit/net/still_env.h"

namespace gemel::net {
namespace {

constexpr auto kAnnounce = static_cast<uint32_t>(nbd::Option::announce);
constexpr auto kGo = static_cast<uint32_t>(nbd::Option::go);
constexpr auto kAck = static_cast<uint32_t>(nbd::OptionReply::ack);
constexpr auto kRefused = static_cast<uint32_t>(nbd::OptionReply::error_policy);

class NbdAnnouncementTest : public NbdServerFixture {
protected:
    // Connects and announces; the answer is still to come.
    Task<void> connect(NbdTestClient& client, uint8_t session, uint64_t generation) {
        const bool greeted = co_await client.greet(address_);
        EXPECT_TRUE(greeted);
        co_await client.send(client.option(kAnnounce, announcement_data(session, generation)));
    }
    // The rest of the handshake, once the announcement is acknowledged.
    Task<void> agree(NbdTestClient& client, bool& acknowledged) {
        const NbdTestClient::OptionAnswer answer = co_await client.option_answer();
        EXPECT_EQ(answer.type, kAck);
        acknowledged = true;
        NbdTestClient::Wishes wishes;
        const bool agreed = co_await client.agree(wishes);
        EXPECT_TRUE(agreed);
    }
    Task<void> agree(NbdTestClient& client) {
        bool ignored = false;
        co_await agree(client, ignored);
    }
    Task<void> open(NbdTestClient& client, uint8_t session, uint64_t generation) {
        co_await connect(client, session, generation);
        co_await agree(client);
    }
    // More writes of the first block than the server begins: the rest stays in its chunk or in the
    // socket.
    Task<void> send_too_many_writes(NbdTestClient& client, uint32_t length) {
        Bytes bytes;
        for (uint64_t i = 0; i < kNbdRequestsPerConnection + 100; ++i) {
            append(bytes, client.write_request(i, 0, pattern(length, 1)));
        }
        co_await client.send(std::move(bytes));
        co_await wait_for_calls(kNbdRequestsPerConnection);
    }
    Task<void> send(NbdTestClient& client, Bytes bytes) {
        (void)co_await client.send(std::move(bytes));
    }
    Task<void> expect_answer(NbdTestClient& client, Bytes request) {
        const TestReply reply = co_await client.ask(std::move(request));
        EXPECT_FALSE(reply.ended);
        EXPECT_EQ(reply.error, 0u);
    }

    Task<void> newer_write_survives(uint32_t length);
    Task<void> newer_write_survives_over_tcp();
    Task<void> half_a_write_is_not_begun();
    Task<void> waits_for_the_device();
    Task<void> strangers_and_siblings();
    Task<void> late_comer();
    Task<void> newest_of_three();

    Address address_ = unix_address();
};

Task<void> NbdAnnouncementTest::newer_write_survives(uint32_t length) {
    NbdTestClient old_client(env());
    co_await open(old_client, 1, 1);
    device_->hold();
    co_await send_too_many_writes(old_client, length);

    NbdTestClient client(env());
    co_await connect(client, 1, 2);
    co_await exchange_options();
    EXPECT_EQ(device_->calls(), kNbdRequestsPerConnection);
    device_->release();
    co_await agree(client);
    co_await expect_answer(client, client.write_request(1, 0, pattern(length, 2)));
    // Whatever of the old connection there was to come has come.
    co_await wait_for_connections(1);
    EXPECT_EQ(device_->calls(), kNbdRequestsPerConnection + 1);
    expect_content(0, pattern(length, 2));
    client.close();
}
TEST_F(NbdAnnouncementTest, ALateDuplicateNeverFollowsANewerWrite) {
    serve_and_run(newer_write_survives(512));
}
TEST_F(NbdAnnouncementTest, NorDoesOneThatIsStillInTheSocket) {
    serve_and_run(newer_write_survives(4096));
}

// As it happens: the client has closed, and the server cannot know.
Task<void> NbdAnnouncementTest::newer_write_survives_over_tcp() {
    auto listener = listen(Address{.unix_path = "", .host = "127.0.0.1", .port = 0});
    if (listener == nullptr) co_return;
    address_ = listener->address();
    server_->start(std::move(listener));
    NbdTestClient old_client(env());
    co_await open(old_client, 1, 1);
    device_->hold();
    // Twice what the server's end of the socket and its chunk take: the FIN queues behind it.
    Bytes bytes;
    for (uint64_t i = 0; i < 2 * kNbdRequestsPerConnection; ++i) {
        append(bytes, old_client.write_request(i, 0, pattern(4096, 1)));
    }
    Scope sending(env());
    sending.start(send(old_client, std::move(bytes)));
    co_await wait_for_calls(kNbdRequestsPerConnection);
    old_client.stream().shutdown();
    co_await sending.join();
    old_client.close();

    NbdTestClient client(env());
    co_await connect(client, 1, 2);
    co_await exchange_options();
    device_->release();
    co_await agree(client);
    co_await expect_answer(client, client.write_request(1, 0, pattern(4096, 2)));
    co_await wait_for_connections(1);
    EXPECT_EQ(device_->calls(), kNbdRequestsPerConnection + 1);
    expect_content(0, pattern(4096, 2));
    client.close();
}
TEST_F(NbdAnnouncementTest, NorDoesOneThatTcpStillHolds) {
    serve_and_run(newer_write_survives_over_tcp());
}

// The old connection's large write has begun to arrive; its end comes after the newer write.
Task<void> NbdAnnouncementTest::half_a_write_is_not_begun() {
    NbdTestClient old_client(env());
    co_await open(old_client, 1, 1);
    const Bytes large = old_client.write_request(1, 0, pattern(1 << 20, 1));
    co_await old_client.send(Bytes(large.begin(), large.end() - 512));
    co_await exchange_options();

    NbdTestClient client(env());
    co_await open(client, 1, 2);
    co_await expect_answer(client, client.write_request(1, 0, pattern(512, 2)));
    co_await old_client.send(Bytes(large.end() - 512, large.end()));
    co_await wait_for_connections(1);
    EXPECT_EQ(device_->calls(), 1u);
    expect_content(0, pattern(512, 2));
    client.close();
}
TEST_F(NbdAnnouncementTest, AWriteThatWasHalfThereIsNotBegun) {
    serve_and_run(half_a_write_is_not_begun());
}

// What was begun is not taken back, so the newer connection waits for it.
Task<void> NbdAnnouncementTest::waits_for_the_device() {
    NbdTestClient old_client(env());
    co_await open(old_client, 1, 1);
    device_->hold();
    co_await old_client.send(old_client.write_request(1, 0, pattern(4096, 1)));
    co_await wait_for_calls(1);

    NbdTestClient client(env());
    co_await connect(client, 1, 2);
    bool acknowledged = false;
    Scope agreeing(env());
    agreeing.start(agree(client, acknowledged));
    co_await exchange_options();
    EXPECT_FALSE(acknowledged);
    device_->release();
    co_await agreeing.join();
    co_await expect_answer(client, client.write_request(2, 0, pattern(4096, 2)));
    expect_content(0, pattern(4096, 2));
    client.close();
}
TEST_F(NbdAnnouncementTest, WhatWasBegunIsWaitedFor) { serve_and_run(waits_for_the_device()); }

Task<void> NbdAnnouncementTest::strangers_and_siblings() {
    NbdTestClient silent(env());
    co_await start(silent);
    NbdTestClient stranger(env());
    co_await open(stranger, 2, 1);
    NbdTestClient first(env());
    co_await open(first, 1, 5);
    NbdTestClient second(env());
    co_await open(second, 1, 5);
    for (NbdTestClient* each : {&silent, &stranger, &first, &second}) {
        co_await expect_answer(*each, each->write_request(1, 0, pattern(512, 1)));
        each->close();
    }
}
TEST_F(NbdAnnouncementTest, OnlyOlderConnectionsOfTheSessionAreCut) {
    serve_and_run(strangers_and_siblings());
}

Task<void> NbdAnnouncementTest::late_comer() {
    NbdTestClient client(env());
    co_await open(client, 1, 2);
    NbdTestClient late(env());
    co_await connect(late, 1, 1);
    const NbdTestClient::OptionAnswer answer = co_await late.option_answer();
    EXPECT_EQ(answer.type, kRefused);
    co_await late.receive_end();
    co_await expect_answer(client, client.write_request(1, 0, pattern(512, 1)));
    client.close();
}
TEST_F(NbdAnnouncementTest, AnOlderConnectionThatComesLateIsRefused) {
    serve_and_run(late_comer());
}

// The second one still waits for the first when the third comes.
Task<void> NbdAnnouncementTest::newest_of_three() {
    NbdTestClient first(env());
    co_await open(first, 1, 1);
    device_->hold();
    co_await first.send(first.write_request(1, 0, pattern(512, 1)));
    co_await wait_for_calls(1);
    NbdTestClient second(env());
    co_await connect(second, 1, 2);
    co_await exchange_options();
    NbdTestClient third(env());
    co_await connect(third, 1, 3);
    const NbdTestClient::OptionAnswer none = co_await second.option_answer();
    EXPECT_EQ(none.type, 0u);
    device_->release();
    const NbdTestClient::OptionAnswer answer = co_await third.option_answer();
    EXPECT_EQ(answer.type, kAck);
    third.close();
}
TEST_F(NbdAnnouncementTest, TheNewestOfAllWins) { serve_and_run(newest_of_three()); }

// Time stands still until everything waits.
class NbdAnnouncementLimitTest : public ::testing::Test {
public:
    Task<void> hanging_device();

protected:
    Task<void> serve(FeedStream& stream) {
        NbdConnection connection(registry_, stream);
        co_await connection.run();
    }
    static Bytes hello(uint64_t generation) {
        Bytes bytes;
        append(bytes, bytes_of(be32(nbd::kFixedNewstyle | nbd::kNoZeroes)));
        append(bytes, NbdTestClient::option(kAnnounce, announcement_data(1, generation)));
        append(bytes, NbdTestClient::option(kGo, info_option_data("", {})));
        return bytes;
    }

    StillEnv env_;
    blockdev::MemoryDevice memory_{1 << 20};
    blockdev::FaultDevice device_{env_, memory_};
    NbdRegistry registry_{env_, device_, "vol", "a volume"};
    Scope scope_{env_};
};

Task<void> NbdAnnouncementLimitTest::hanging_device() {
    device_.hold();
    Bytes old_bytes = hello(1);
    append(old_bytes, NbdTestClient::write_request(1, 0, pattern(512, 1)));
    FeedStream old_stream(env_, old_bytes, SIZE_MAX, SIZE_MAX, FeedStream::AtEnd::falls_silent);
    scope_.start(serve(old_stream));
    co_await sleep_for(env_, kSecond);
    EXPECT_EQ(device_.inside(), 1u);
    Bytes bytes = hello(2);
    append(bytes, NbdTestClient::write_request(1, 0, pattern(512, 2)));
    FeedStream stream(env_, bytes, SIZE_MAX, SIZE_MAX, FeedStream::AtEnd::falls_silent);
    const uint64_t begin = env_.now_ns();
    co_await serve(stream);
    EXPECT_GE(env_.now_ns() - begin, kNbdHandshakeLimitNs);
    EXPECT_LE(env_.now_ns() - begin, kNbdHandshakeLimitNs + kSecond);
    EXPECT_EQ(stream.sent_bytes(), sizeof(nbd::Greeting));
    EXPECT_EQ(device_.calls(), 1u);
    device_.release();
    co_await scope_.join();
}
TEST_F(NbdAnnouncementLimitTest, ADeviceThatHangsIsNotWaitedForForEver) {
    env_.run(hanging_device());
}

}  // namespace
}  // namespace gemel::net
