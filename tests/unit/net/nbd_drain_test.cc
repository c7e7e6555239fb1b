// SPDX-License-Identifier: Apache-2.0
//
// How connections end: the drain rule (net/nbd_registry.h), and the server's stop.
#include <gtest/gtest.h>

#include "tests/unit/net/nbd_server_fixture.h"

namespace gemel::net {
namespace {

using nbd::Command;

class NbdDrainTest : public NbdServerFixture {
protected:
    Task<void> drain_waits_for_the_device();
    Task<void> drain_waits_for_unread_requests();
    Task<void> drain_forgets_a_client_that_left();
    Task<void> drain_ignores_the_living();
    Task<void> stop_answers_what_is_in_flight();
    Task<void> stop_cuts_at_the_deadline();
};

// The new connection is through its options and waits; the old one's write is held in the device.
Task<void> NbdDrainTest::drain_waits_for_the_device() {
    NbdTestClient old_client(env());
    co_await start(old_client);
    device_->hold();
    co_await old_client.send(old_client.write_request(1, 0, pattern(4096, 1)));
    co_await wait_for_calls(1);
    old_client.close();

    NbdTestClient client(env());
    const bool greeted = co_await client.greet(unix_address());
    EXPECT_TRUE(greeted);
    Bytes bytes = client.option(7, info_option_data("", {}));
    append(bytes, client.write_request(2, 0, pattern(4096, 2)));
    co_await client.send(std::move(bytes));
    co_await exchange_options();
    EXPECT_EQ(device_->calls(), 1u);
    device_->release();
    (void)co_await client.option_answer();
    (void)co_await client.option_answer();
    const TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 2u);
    expect_content(0, pattern(4096, 2));
    client.close();
}
TEST_F(NbdDrainTest, ANewConnectionWaitsForTheOldOnesRequests) {
    serve_and_run(drain_waits_for_the_device());
}

// The old connection's socket still holds writes that the server has not read, because too many
// are in flight, when the client resends the last of them and then writes something newer.
Task<void> NbdDrainTest::drain_waits_for_unread_requests() {
    NbdTestClient old_client(env());
    co_await start(old_client);
    device_->hold();
    Bytes bytes;
    for (uint64_t i = 0; i < kNbdRequestsPerConnection + 100; ++i) {
        append(bytes, old_client.write_request(i, 0, pattern(512, 1)));
    }
    co_await old_client.send(std::move(bytes));
    co_await wait_for_calls(kNbdRequestsPerConnection);
    EXPECT_EQ(device_->calls(), kNbdRequestsPerConnection);
    old_client.close();

    NbdTestClient client(env());
    const bool greeted = co_await client.greet(unix_address());
    EXPECT_TRUE(greeted);
    bytes = client.option(7, info_option_data("", {}));
    append(bytes, client.write_request(2, 0, pattern(512, 2)));
    co_await client.send(std::move(bytes));
    co_await exchange_options();
    EXPECT_EQ(device_->calls(), kNbdRequestsPerConnection);
    device_->release();
    (void)co_await client.option_answer();
    (void)co_await client.option_answer();
    const TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 2u);
    const uint64_t calls = device_->calls();
    co_await wait_for_connections(1);
    EXPECT_EQ(device_->calls(), calls);
    expect_content(0, pattern(512, 2));
    client.close();
}
TEST_F(NbdDrainTest, ALateDuplicateNeverFollowsANewerWrite) {
    serve_and_run(drain_waits_for_unread_requests());
}

// A client that goes while it waits must not begin afterwards: nobody would wait for it.
Task<void> NbdDrainTest::drain_forgets_a_client_that_left() {
    NbdTestClient old_client(env());
    co_await start(old_client);
    device_->hold();
    co_await old_client.send(old_client.write_request(1, 0, pattern(4096, 1)));
    co_await wait_for_calls(1);
    old_client.close();

    NbdTestClient second(env());
    const bool greeted = co_await second.greet(unix_address());
    EXPECT_TRUE(greeted);
    Bytes bytes = second.option(7, info_option_data("", {}));
    append(bytes, second.write_request(2, 0, pattern(4096, 2)));
    co_await second.send(std::move(bytes));
    co_await wait_for_connections(2);
    second.close();
    co_await wait_for_connections(1);
    device_->release();
    co_await wait_for_connections(0);
    EXPECT_EQ(device_->calls(), 1u);
    expect_content(0, pattern(4096, 1));
}
TEST_F(NbdDrainTest, AClientThatLeavesWhileItWaitsNeverBegins) {
    serve_and_run(drain_forgets_a_client_that_left());
}

Task<void> NbdDrainTest::drain_ignores_the_living() {
    NbdTestClient busy(env());
    co_await start(busy);
    device_->hold();
    co_await busy.send(busy.write_request(1, 0, pattern(4096, 1)));
    co_await wait_for_calls(1);
    NbdTestClient other(env());
    co_await start(other);
    device_->release();
    const TestReply reply = co_await busy.reply();
    EXPECT_EQ(reply.cookie, 1u);
    other.close();
    busy.close();
}
TEST_F(NbdDrainTest, AConnectionInUseKeepsNobodyWaiting) {
    serve_and_run(drain_ignores_the_living());
}

Task<void> NbdDrainTest::stop_answers_what_is_in_flight() {
    NbdTestClient client(env());
    co_await start(client);
    device_->hold();
    co_await client.send(client.write_request(1, 0, pattern(4096, 1)));
    co_await wait_for_calls(1);
    NbdTestClient idle(env());
    co_await start(idle);
    Scope stopping(env());
    stopping.start(server_->stop(env().now_ns() + kTestPatienceNs));
    // The idle client is let go at once, the other one gets its answer first.
    co_await idle.receive_end();
    device_->release();
    const TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 1u);
    EXPECT_FALSE(reply.ended);
    co_await client.receive_end();
    co_await stopping.join();
    NbdTestClient late(env());
    const bool connected = co_await late.connect(unix_address());
    EXPECT_FALSE(connected);
    client.close();
    idle.close();
}
TEST_F(NbdDrainTest, StoppingAnswersWhatIsInFlight) {
    serve_and_run(stop_answers_what_is_in_flight());
}

// A client that never reads its replies does not hold up the end.
Task<void> NbdDrainTest::stop_cuts_at_the_deadline() {
    NbdTestClient client(env());
    co_await start(client);
    Bytes bytes;
    for (uint64_t i = 0; i < 60; ++i) {
        append(bytes, client.request(Command::read, i, 0, 1 << 20));
    }
    co_await client.send(std::move(bytes));
    co_await wait_for_calls(8);
    co_await server_->stop(env().now_ns() + 10 * kMillisecond);
    EXPECT_EQ(server_->counters().connections, 0u);
    client.close();
}
TEST_F(NbdDrainTest, StoppingCutsAtTheDeadline) { serve_and_run(stop_cuts_at_the_deadline()); }

}  // namespace
}  // namespace gemel::net
