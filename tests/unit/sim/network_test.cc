// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/sim/sim_harness.h"

namespace gemel::sim {
namespace {

const Address kServer{"/server", "", 0};

struct Talk {
    std::vector<std::byte> received;
    bool ended = false;
    bool failed = false;
    bool connected = false;
    Errc refused = Errc::invalid;
    bool sent = false;
};

std::vector<std::byte> pattern(size_t size) {
    std::vector<std::byte> out(size);
    for (size_t i = 0; i < size; ++i) out[i] = static_cast<std::byte>(i * 7 + i / 251);
    return out;
}

Task<void> collect(Stream& stream, Talk& talk) {
    std::vector<std::byte> buffer(10'000);
    while (true) {
        auto count = co_await stream.receive(buffer);
        if (!count.ok()) {
            talk.failed = true;
            break;
        }
        if (count.value() == 0) {
            talk.ended = true;
            break;
        }
        talk.received.insert(talk.received.end(), buffer.begin(),
                             buffer.begin() + static_cast<std::ptrdiff_t>(count.value()));
    }
}

Task<void> serve_one(SimEnv& env, Talk& talk) {
    auto listener = env.listen(kServer);
    CHECK(listener.ok());
    auto stream = co_await listener.value()->accept();
    CHECK(stream.ok());
    co_await collect(*stream.value(), talk);
    stream.value()->shutdown();
    listener.value()->close();
}

Task<void> send_to_server(SimEnv& env, std::span<const std::byte> data, Talk& talk) {
    co_await yield(env);
    auto stream = co_await env.connect(kServer);
    if (!stream.ok()) {
        talk.refused = stream.error().code;
        co_return;
    }
    talk.connected = true;
    const Status sent = co_await stream.value()->send(data);
    talk.sent = sent.ok();
    stream.value()->shutdown();
}

TEST(Network, CarriesBytesInOrderAndThenTheEnd) {
    for (uint64_t seed = 1; seed <= 50; ++seed) {
        Harness harness(seed);
        Talk server, client;
        const auto data = pattern(1'000'000);
        harness.spawn(serve_one(*harness.process, server));
        harness.spawn(send_to_server(*harness.process, data, client));
        ASSERT_TRUE(harness.finish());
        EXPECT_TRUE(client.sent && server.ended);
        EXPECT_EQ(server.received, data);
    }
}

TEST(Network, RefusesWhereNobodyListens) {
    Harness harness;
    Talk client;
    ASSERT_TRUE(harness.run(send_to_server(*harness.process, {}, client)));
    EXPECT_FALSE(client.connected);
    EXPECT_EQ(client.refused, Errc::closed);
}

TEST(Network, ListensOnceAtAnAddressAndPicksPorts) {
    Harness harness;
    auto first = harness.process->listen(kServer);
    ASSERT_TRUE(first.ok());
    EXPECT_FALSE(harness.process->listen(kServer).ok());
    auto port = harness.process->listen({"", "127.0.0.1", 0});
    ASSERT_TRUE(port.ok());
    EXPECT_NE(port.value()->address().port, 0);
    first.value()->close();
    EXPECT_TRUE(harness.process->listen(kServer).ok());
}

TEST(Network, ACutFailsBothEnds) {
    Harness harness;
    Talk server, client;
    const auto data = pattern(4'000'000);
    harness.spawn(serve_one(*harness.process, server));
    harness.spawn(send_to_server(*harness.process, data, client));
    ASSERT_TRUE(harness.world.run_until([&] { return server.received.size() > 100'000; },
                                        harness.world.now_ns() + kLongNs));
    harness.world.network().cut(*harness.process);
    ASSERT_TRUE(harness.finish());
    EXPECT_TRUE(server.failed);
    EXPECT_FALSE(client.sent);
    EXPECT_LT(server.received.size(), data.size());
}

TEST(Network, ThePeersOfADeadProcessNotice) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        Harness harness(seed);
        SimEnv& other = harness.world.start_process();
        auto* scope = new Scope(other);
        auto* client = new Talk;
        auto* data = new std::vector<std::byte>(pattern(4'000'000));
        Talk server;
        harness.spawn(serve_one(*harness.process, server));
        scope->start(send_to_server(other, *data, *client));
        ASSERT_TRUE(harness.world.run_until([&] { return server.received.size() > 100'000; },
                                            harness.world.now_ns() + kLongNs));
        harness.world.kill(other);
        ASSERT_TRUE(harness.finish());
        EXPECT_TRUE(server.ended || server.failed);
        EXPECT_FALSE(client->sent);
    }
}

}  // namespace
}  // namespace gemel::sim
