// SPDX-License-Identifier: Apache-2.0
//
// The server against a client of our own, over real sockets on a real reactor.
#include "net/nbd_server.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/net/nbd_server_fixture.h"

namespace gemel::net {
namespace {

using blockdev::DeviceVerb;
using nbd::Command;
using nbd::ErrorCode;

// GCC 12 cannot keep a list written in a loop's head across a suspension.
constexpr size_t kOddLengths[] = {1, 511, 4097, 65535, 65537, 131071, 131073, 1048577};
constexpr size_t kHeadCuts[] = {1, 27};
constexpr size_t kPayloadLengths[] = {4096, 100000, 1 << 20};

Task<void> send_all(NbdTestClient& client, Bytes bytes) {
    const bool sent = co_await client.send(std::move(bytes));
    EXPECT_TRUE(sent);
}

class NbdServerTest : public NbdServerFixture {
protected:
    Task<void> every_command();
    Task<void> simple_replies();
    Task<void> odd_offsets();
    Task<void> large_transfers();
    Task<void> pipelined();
    Task<void> device_errors();
    Task<void> partly_bad();
    Task<void> block_status();
    Task<void> requests_beside_the_last_option();
    Task<void> garbage_in_the_handshake();
    Task<void> garbage_in_transmission();
    Task<void> half_a_request();
    Task<void> half_a_payload();
    Task<void> oversize_write();
    Task<void> client_dies_with_requests_in_flight();
    Task<void> client_that_does_not_read();
    Task<void> disconnect_answers_first();
    Task<void> too_many_connections();
};

Task<void> NbdServerTest::every_command() {
    NbdTestClient client(env());
    co_await start(client);
    EXPECT_EQ(client.size(), kSize);
    const Bytes data = pattern(8192, 1);
    TestReply reply = co_await client.ask(client.write_request(1, 4096, data, nbd::kFlagFua));
    EXPECT_EQ(reply.cookie, 1u);
    EXPECT_EQ(reply.error, 0u);
    expect_content(4096, data);
    reply = co_await client.ask(client.request(Command::read, 2, 4096, 8192, nbd::kFlagDf));
    EXPECT_EQ(reply.cookie, 2u);
    EXPECT_TRUE(reply.structured);
    EXPECT_EQ(reply.offset, 4096u);
    EXPECT_EQ(reply.data, data);
    reply = co_await client.ask(client.request(Command::flush, 3, 0, 0));
    EXPECT_EQ(reply.error, 0u);
    EXPECT_EQ(memory_.flushes(), 1u);
    reply = co_await client.ask(client.request(Command::trim, 4, 4096, 4096));
    EXPECT_EQ(reply.error, 0u);
    expect_content(4096, Bytes(4096));
    reply = co_await client.ask(client.request(Command::write_zeroes, 5, 8000, 4288,
                                               nbd::kFlagNoHole | nbd::kFlagFastZero));
    EXPECT_EQ(reply.error, 0u);
    expect_content(4096, Bytes(8192));
    reply = co_await client.ask(client.request(Command::cache, 6, 0, kSize));
    EXPECT_EQ(reply.error, 0u);
    reply = co_await client.ask(client.request(Command::read, 7, kSize, 0));
    EXPECT_EQ(reply.error, 0u);
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::none));
    reply = co_await client.ask(client.request(Command::read, 8, kSize - 1, 2));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::invalid));
    EXPECT_EQ(reply.offset, kSize - 1);
    EXPECT_FALSE(reply.text.empty());
    reply = co_await client.ask(client.request(static_cast<Command>(99), 9, 0, 0));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::invalid));
    client.close();
}
TEST_F(NbdServerTest, CarriesOutEveryCommand) { serve_and_run(every_command()); }

Task<void> NbdServerTest::simple_replies() {
    NbdTestClient client(env());
    co_await start(client, false);
    EXPECT_EQ(client.flags() & nbd::kSendDf, 0);
    const Bytes data = pattern(1000, 2);
    TestReply reply = co_await client.ask(client.write_request(1, 10, data));
    EXPECT_FALSE(reply.structured);
    EXPECT_EQ(reply.error, 0u);
    reply = co_await client.ask(client.request(Command::read, 2, 10, 1000), 1000);
    EXPECT_FALSE(reply.structured);
    EXPECT_EQ(reply.data, data);
    reply = co_await client.ask(client.request(Command::read, 3, kSize, 1), 1);
    EXPECT_FALSE(reply.structured);
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::invalid));
    client.close();
}
TEST_F(NbdServerTest, AnswersSimplyWhereNothingElseWasAgreed) { serve_and_run(simple_replies()); }

Task<void> NbdServerTest::odd_offsets() {
    NbdTestClient client(env());
    co_await start(client);
    uint64_t cookie = 1;
    for (const size_t length : kOddLengths) {
        const Bytes data = pattern(length, length);
        const uint64_t offset = 3 * length + 1;
        TestReply reply = co_await client.ask(client.write_request(cookie++, offset, data));
        EXPECT_EQ(reply.error, 0u) << length;
        const auto asked = static_cast<uint32_t>(length);
        reply = co_await client.ask(client.request(Command::read, cookie++, offset, asked));
        EXPECT_EQ(reply.data, data) << length;
    }
    client.close();
}
TEST_F(NbdServerTest, TakesAnyOffsetAndLength) { serve_and_run(odd_offsets()); }

Task<void> NbdServerTest::large_transfers() {
    NbdTestClient client(env());
    co_await start(client);
    const Bytes data = pattern(kNbdTransferBytesMax, 3);
    TestReply reply = co_await client.ask(client.write_request(1, 12345, data));
    EXPECT_EQ(reply.error, 0u);
    expect_content(12345, data);
    reply = co_await client.ask(client.request(Command::read, 2, 12345, kNbdTransferBytesMax));
    EXPECT_EQ(reply.data, data);
    client.close();
}
TEST_F(NbdServerTest, TransfersThirtyTwoMebibytesAtOnce) { serve_and_run(large_transfers()); }

// Far more requests than may be in flight, of all sizes, sent without reading a reply in between
// except when the window of this client is full.
Task<void> NbdServerTest::pipelined() {
    NbdTestClient client(env());
    co_await start(client);
    device_->set_delay(100 * kMicrosecond);
    constexpr uint64_t kRequests = 2000;
    constexpr uint64_t kStride = 40960;
    Bytes out;
    for (uint64_t i = 0; i < kRequests; ++i) {
        append(out, client.write_request(i, i * kStride, pattern(1 + i * 7919 % kStride, i)));
    }
    Scope sending(env());
    sending.start(send_all(client, std::move(out)));
    std::vector<bool> answered(kRequests);
    for (uint64_t i = 0; i < kRequests; ++i) {
        const TestReply reply = co_await client.reply();
        EXPECT_FALSE(reply.ended);
        EXPECT_EQ(reply.error, 0u);
        if (reply.ended || reply.cookie >= kRequests) break;
        EXPECT_FALSE(answered[reply.cookie]);
        answered[reply.cookie] = true;
    }
    co_await sending.join();
    for (uint64_t i = 0; i < kRequests; ++i) {
        expect_content(i * kStride, pattern(1 + i * 7919 % kStride, i));
    }
    client.close();
}
TEST_F(NbdServerTest, CarriesOutPipelinedRequests) { serve_and_run(pipelined()); }

Task<void> NbdServerTest::device_errors() {
    NbdTestClient client(env());
    co_await start(client);
    device_->fail(DeviceVerb::read, Error{Errc::corrupt, 0, "broken block"});
    TestReply reply = co_await client.ask(client.request(Command::read, 1, 8192, 4096));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::io));
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::error_offset));
    EXPECT_EQ(reply.offset, 8192u);
    EXPECT_NE(reply.text.find("broken block"), std::string::npos);
    device_->fail(DeviceVerb::write, Error{Errc::no_space});
    reply = co_await client.ask(client.write_request(2, 0, pattern(100, 1)));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::no_space));
    device_->fail(DeviceVerb::flush, Error{Errc::io});
    reply = co_await client.ask(client.request(Command::flush, 3, 0, 0));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::io));
    device_->fail(DeviceVerb::trim, Error{Errc::closed});
    reply = co_await client.ask(client.request(Command::trim, 4, 0, 4096));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::shutdown));
    device_->fail(DeviceVerb::write_zeroes, Error{Errc::unsupported});
    reply = co_await client.ask(client.request(Command::write_zeroes, 5, 0, 4096));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::unsupported));
    device_->fail(DeviceVerb::extents, Error{Errc::io});
    reply = co_await client.ask(client.request(Command::block_status, 6, 0, 4096));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::io));
    EXPECT_EQ(server_->counters().failed, 6u);
    client.close();
}
// Bytes 10000 to 14000 are bad: blocks 2 and 3. The client is told which, and has the rest.
Task<void> NbdServerTest::partly_bad() {
    NbdTestClient client(env());
    co_await start(client);
    const Bytes data = pattern(32768, 3);
    TestReply reply = co_await client.ask(client.write_request(1, 0, data));
    EXPECT_EQ(reply.error, 0u);
    device_->spoil(10000, 4000);
    Bytes out;
    append(out, client.request(Command::read, 2, 1000, 30000));
    co_await client.send(out);
    reply = co_await client.reply();
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::offset_data));
    EXPECT_EQ(reply.offset, 1000u);
    EXPECT_EQ(reply.data, Bytes(data.begin() + 1000, data.begin() + 8192));
    reply = co_await client.reply();
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::error_offset));
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::io));
    EXPECT_EQ(reply.offset, 8192u);
    reply = co_await client.reply();
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::offset_data));
    EXPECT_EQ(reply.offset, 16384u);
    EXPECT_EQ(reply.data, Bytes(data.begin() + 16384, data.begin() + 31000));
    reply = co_await client.reply();
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::none));
    // One bad block alone, and what comes afterwards.
    reply = co_await client.ask(client.request(Command::read, 3, 12288, 512));
    EXPECT_EQ(reply.offset, 12288u);
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::io));
    reply = co_await client.ask(client.request(Command::read, 4, 0, 512));
    EXPECT_EQ(reply.data, Bytes(data.begin(), data.begin() + 512));
    EXPECT_EQ(server_->counters().failed, 2u);
    client.close();
}
TEST_F(NbdServerTest, SaysWhichPartOfAReadIsBad) { serve_and_run(partly_bad()); }

TEST_F(NbdServerTest, HandsDeviceErrorsOn) { serve_and_run(device_errors()); }

Task<void> NbdServerTest::block_status() {
    NbdTestClient client(env());
    co_await start(client);
    TestReply reply = co_await client.ask(client.write_request(1, 8192, pattern(4096, 1)));
    EXPECT_EQ(reply.error, 0u);
    reply = co_await client.ask(client.request(Command::block_status, 2, 4096, 65536));
    EXPECT_EQ(reply.chunk, static_cast<uint16_t>(nbd::Chunk::block_status));
    EXPECT_EQ(reply.data.size(), 3 * sizeof(nbd::BlockStatusEntry));
    std::vector<nbd::BlockStatusEntry> entries(3);
    if (reply.data.size() == 24) std::memcpy(entries.data(), reply.data.data(), 24);
    EXPECT_EQ(entries[0].length.get(), 4096u);
    EXPECT_EQ(entries[0].flags.get(), nbd::kStateHole | nbd::kStateZero);
    EXPECT_EQ(entries[1].length.get(), 4096u);
    EXPECT_EQ(entries[1].flags.get(), 0u);
    EXPECT_EQ(entries[2].length.get(), 57344u);
    reply = co_await client.ask(
        client.request(Command::block_status, 3, 4096, 65536, nbd::kFlagReqOne));
    EXPECT_EQ(reply.data.size(), sizeof(nbd::BlockStatusEntry));
    client.close();
}
TEST_F(NbdServerTest, ReportsWhatIsKnownToBeZero) { serve_and_run(block_status()); }

Task<void> NbdServerTest::requests_beside_the_last_option() {
    NbdTestClient client(env());
    const bool greeted = co_await client.greet(unix_address());
    EXPECT_TRUE(greeted);
    Bytes bytes = client.option(7, info_option_data("vol", {}));
    append(bytes, client.write_request(1, 0, pattern(3000, 1)));
    append(bytes, client.request(Command::read, 2, 0, 100));
    co_await client.send(std::move(bytes));
    (void)co_await client.option_answer();
    (void)co_await client.option_answer();
    TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 1u);
    reply = co_await client.reply(100);
    EXPECT_EQ(reply.cookie, 2u);
    client.close();
}
TEST_F(NbdServerTest, RequestsMayFollowTheHandshakeAtOnce) {
    serve_and_run(requests_beside_the_last_option());
}

Task<void> NbdServerTest::garbage_in_the_handshake() {
    for (uint64_t seed = 0; seed < 20; ++seed) {
        NbdTestClient client(env());
        const bool connected = co_await client.connect(unix_address());
        EXPECT_TRUE(connected);
        co_await client.send(pattern(1 + seed * 300, seed));
        client.close();
    }
    co_await expect_service();
}
TEST_F(NbdServerTest, GarbageInTheHandshakeCostsItsConnection) {
    serve_and_run(garbage_in_the_handshake());
}

Task<void> NbdServerTest::garbage_in_transmission() {
    NbdTestClient client(env());
    co_await start(client);
    Bytes bytes = client.write_request(1, 0, pattern(4096, 5));
    append(bytes, pattern(100, 6));
    co_await client.send(std::move(bytes));
    // What was in order is answered, then the connection ends.
    const TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 1u);
    co_await client.receive_end();
    client.close();
    co_await expect_service();
}
TEST_F(NbdServerTest, GarbageInTransmissionCostsItsConnection) {
    serve_and_run(garbage_in_transmission());
}

Task<void> NbdServerTest::half_a_request() {
    for (const size_t cut : kHeadCuts) {
        NbdTestClient client(env());
        co_await start(client);
        Bytes bytes = client.request(Command::read, 1, 0, 4096);
        bytes.resize(cut);
        co_await client.send(std::move(bytes));
        client.close();
    }
    co_await wait_for_connections(0);
    EXPECT_EQ(device_->calls(), 0u);
    co_await expect_service();
}
TEST_F(NbdServerTest, HalfARequestIsNeverCarriedOut) { serve_and_run(half_a_request()); }

Task<void> NbdServerTest::half_a_payload() {
    for (const size_t length : kPayloadLengths) {
        NbdTestClient client(env());
        co_await start(client);
        Bytes bytes = client.write_request(1, 0, pattern(length, 1));
        bytes.pop_back();
        co_await client.send(std::move(bytes));
        client.close();
    }
    co_await wait_for_connections(0);
    EXPECT_EQ(device_->calls(), 0u);
    co_await expect_service();
}
TEST_F(NbdServerTest, HalfAPayloadIsNeverWritten) { serve_and_run(half_a_payload()); }

Task<void> NbdServerTest::oversize_write() {
    NbdTestClient client(env());
    co_await start(client);
    Bytes bytes = client.write_request(1, 0, pattern(kNbdTransferBytesMax + 1, 1));
    append(bytes, client.write_request(2, kSize - 10, pattern(11, 1)));
    append(bytes, client.request(Command::read, 3, 0, 512));
    co_await client.send(std::move(bytes));
    TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 1u);
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::invalid));
    reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 2u);
    EXPECT_EQ(reply.error, static_cast<uint32_t>(ErrorCode::no_space));
    reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 3u);
    EXPECT_EQ(reply.error, 0u);
    client.close();
}
TEST_F(NbdServerTest, ARefusedWritesPayloadIsReadOver) { serve_and_run(oversize_write()); }

Task<void> NbdServerTest::client_dies_with_requests_in_flight() {
    device_->hold();
    NbdTestClient client(env());
    co_await start(client);
    const Bytes data = pattern(4096, 9);
    co_await client.send(client.write_request(1, 0, data));
    co_await client.send(client.request(Command::read, 2, 0, 1 << 20));
    co_await wait_for_calls(2);
    client.close();
    device_->release();
    co_await wait_for_connections(0);
    expect_content(0, data);
    co_await expect_service();
}
TEST_F(NbdServerTest, ADeadClientsRequestsStillFinish) {
    serve_and_run(client_dies_with_requests_in_flight());
}

// It asks for far more than its share and reads nothing: memory stays bounded, others are served.
Task<void> NbdServerTest::client_that_does_not_read() {
    NbdTestClient client(env());
    co_await start(client);
    Bytes bytes;
    for (uint64_t i = 0; i < 200; ++i) {
        append(bytes, client.request(Command::read, i, 0, 1 << 20));
    }
    co_await client.send(std::move(bytes));
    co_await wait_for_calls(8);
    for (int i = 0; i < 10; ++i) co_await expect_service();
    EXPECT_LE(server_->buffer_bytes(), kNbdBytesPerConnection + (1 << 20));
    EXPECT_LT(device_->calls(), 100u);
    // Reading again, it gets everything.
    for (uint64_t i = 0; i < 200; ++i) {
        const TestReply reply = co_await client.reply();
        EXPECT_FALSE(reply.ended);
        EXPECT_EQ(reply.data.size(), 1u << 20);
    }
    client.close();
}
TEST_F(NbdServerTest, AClientThatDoesNotReadIsBounded) {
    serve_and_run(client_that_does_not_read());
}

Task<void> NbdServerTest::disconnect_answers_first() {
    device_->set_delay(kMillisecond);
    NbdTestClient client(env());
    co_await start(client);
    Bytes bytes = client.write_request(1, 0, pattern(4096, 1));
    append(bytes, client.request(Command::disconnect, 2, 0, 0));
    append(bytes, client.write_request(3, 4096, pattern(4096, 2)));
    co_await client.send(std::move(bytes));
    const TestReply reply = co_await client.reply();
    EXPECT_EQ(reply.cookie, 1u);
    const TestReply end = co_await client.reply();
    EXPECT_TRUE(end.ended);
    EXPECT_EQ(device_->calls(), 1u);
    client.close();
}
TEST_F(NbdServerTest, DisconnectAnswersWhatCameBeforeIt) {
    serve_and_run(disconnect_answers_first());
}

Task<void> NbdServerTest::too_many_connections() {
    std::vector<std::unique_ptr<NbdTestClient>> clients;
    for (size_t i = 0; i < kNbdConnectionsMax; ++i) {
        clients.push_back(std::make_unique<NbdTestClient>(env()));
        co_await start(*clients.back());
    }
    NbdTestClient extra(env());
    const NbdTestClient::Wishes wishes;
    const bool started = co_await extra.start(unix_address(), wishes);
    EXPECT_FALSE(started);
    EXPECT_EQ(server_->counters().refused, 1u);
    clients.pop_back();
    co_await wait_for_connections(kNbdConnectionsMax - 1);
    co_await expect_service();
}
TEST_F(NbdServerTest, ConnectionsAreBounded) { serve_and_run(too_many_connections()); }

}  // namespace
}  // namespace gemel::net
