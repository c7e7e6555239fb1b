// SPDX-License-Identifier: Apache-2.0
//
// A server on a real reactor, with a device in memory that can be held back, and what tests of it
// have in common.
#pragma once

#include <algorithm>
#include <memory>

#include "blockdev/fault_device.h"
#include "blockdev/memory_device.h"
#include "net/nbd_server.h"
#include "tests/unit/net/nbd_test_client.h"
#include "tests/unit/net/net_fixture.h"

namespace gemel::net {

class NbdServerFixture : public NetTest {
protected:
    static constexpr uint64_t kSize = 96ull << 20;

    NbdServerFixture() : memory_(kSize) {}

    // Runs a test's coroutine beside a server, and stops the server afterwards.
    void serve_and_run(Task<void> body) {
        device_ = std::make_unique<blockdev::FaultDevice>(env(), memory_);
        server_ = std::make_unique<NbdServer>(env(), *device_, "vol", "a volume");
        auto listener = listen(unix_address());
        ASSERT_NE(listener, nullptr);
        server_->start(std::move(listener));
        env().run(run_and_stop(std::move(body)));
        EXPECT_EQ(server_->counters().connections, 0u);
        EXPECT_EQ(server_->buffer_bytes(), 0u);
        EXPECT_EQ(device_->inside(), 0u);
    }

    Task<void> run_and_stop(Task<void> body) {
        co_await std::move(body);
        device_->release();
        co_await server_->stop(env().now_ns() + kTestPatienceNs);
    }

    // Waits until the loop has done something; false once patience has run out.
    Task<bool> settle(uint64_t& deadline) {
        if (deadline == 0) deadline = env().now_ns() + kTestPatienceNs;
        co_await sleep_for(env(), kMillisecond);
        co_return env().now_ns() < deadline;
    }
    Task<void> wait_for_calls(uint64_t calls) {
        uint64_t deadline = 0;
        while (device_->calls() < calls) {
            const bool goes_on = co_await settle(deadline);
            if (!goes_on) break;
        }
        EXPECT_GE(device_->calls(), calls);
    }
    Task<void> wait_for_connections(uint64_t connections) {
        uint64_t deadline = 0;
        while (server_->counters().connections != connections) {
            const bool goes_on = co_await settle(deadline);
            if (!goes_on) break;
        }
        EXPECT_EQ(server_->counters().connections, connections);
    }

    Task<void> start(NbdTestClient& client, bool structured = true) {
        // Named, because GCC 12 destroys an aggregate made within the co_await twice.
        NbdTestClient::Wishes wishes;
        wishes.structured = structured;
        const bool started = co_await client.start(unix_address(), wishes);
        EXPECT_TRUE(started);
    }
    // A second, honest client gets an answer: nobody else has suffered.
    Task<void> expect_service() {
        NbdTestClient client(env());
        co_await start(client);
        const TestReply reply = co_await client.ask(client.request(nbd::Command::read, 77, 0, 512));
        EXPECT_EQ(reply.error, 0u);
        EXPECT_EQ(reply.data.size(), 512u);
        client.close();
    }
    // Dialogues that end before transmission: by now the server has seen what was sent before.
    Task<void> exchange_options() {
        for (int i = 0; i < 3; ++i) {
            NbdTestClient witness(env());
            const bool greeted = co_await witness.greet(unix_address());
            EXPECT_TRUE(greeted);
            co_await witness.send(witness.option(3));
            (void)co_await witness.option_answer();
            witness.close();
        }
    }
    void expect_content(uint64_t offset, const Bytes& data) {
        EXPECT_TRUE(std::ranges::equal(memory_.content().subspan(offset, data.size()), data));
    }

    blockdev::MemoryDevice memory_;
    std::unique_ptr<blockdev::FaultDevice> device_;
    std::unique_ptr<NbdServer> server_;
};

}  // namespace gemel::net
