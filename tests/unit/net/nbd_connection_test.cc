// SPDX-License-Identifier: Apache-2.0
//
// What takes time: deadlines, shortage of memory, an old connection that does not drain. The clock
// stands still until everything waits.
#include "net/nbd_connection.h"

#include <gtest/gtest.h>

#include <optional>

#include "blockdev/memory_device.h"
#include "tests/unit/net/nbd_test_client.h"
#include "tests/unit/net/still_env.h"

namespace gemel::net {
namespace {

// The greeting and the answer to NBD_OPT_GO.
constexpr size_t kHandshakeSends = 2;
constexpr auto kSilent = FeedStream::AtEnd::falls_silent;

// Handshake bytes of a client that wants simple replies.
Bytes hello() {
    Bytes bytes;
    append(bytes, bytes_of(be32(nbd::kFixedNewstyle | nbd::kNoZeroes)));
    append(bytes,
           NbdTestClient::option(static_cast<uint32_t>(nbd::Option::go), info_option_data("", {})));
    return bytes;
}

// `count` reads of `length` bytes each.
Bytes reads(size_t count, uint32_t length) {
    Bytes bytes;
    for (size_t i = 0; i < count; ++i) {
        append(bytes, NbdTestClient::request(nbd::Command::read, i, 0, length));
    }
    return bytes;
}

class NbdConnectionTest : public ::testing::Test {
protected:
    NbdConnectionTest()
        : memory_(64 << 20), registry_(env_, memory_, "vol", "a volume"), scope_(env_) {}

    Task<void> serve(FeedStream& stream, uint64_t& ended_ns) {
        NbdConnection connection(registry_, stream);
        co_await connection.run();
        ended_ns = env_.now_ns();
    }

    StillEnv env_;
    blockdev::MemoryDevice memory_;
    NbdRegistry registry_;
    Scope scope_;

public:
    Task<void> silent_handshake();
    Task<void> dribbling_handshake();
    Task<void> shortage();
    Task<void> half_a_payload_in_a_shortage();
    Task<void> no_shortage();
    Task<void> choked();
};

Task<void> NbdConnectionTest::silent_handshake() {
    FeedStream stream(env_, {}, 100, SIZE_MAX, kSilent);
    const uint64_t begin = env_.now_ns();
    uint64_t ended = 0;
    co_await serve(stream, ended);
    EXPECT_EQ(ended - begin, kNbdHandshakeLimitNs);
}
TEST_F(NbdConnectionTest, ASilentHandshakeIsCutAtItsLimit) { env_.run(silent_handshake()); }

// Options without end do not move the limit; and once agreed, silence is no fault.
Task<void> NbdConnectionTest::dribbling_handshake() {
    const Bytes bytes = hello();
    FeedStream half(env_, std::span(bytes).first(bytes.size() - 1), 1, SIZE_MAX, kSilent);
    uint64_t ended = 0;
    co_await serve(half, ended);
    EXPECT_NE(ended, 0u);
    FeedStream whole(env_, bytes, 1, SIZE_MAX, kSilent);
    ended = 0;
    scope_.start(serve(whole, ended));
    co_await sleep_for(env_, 10 * kNbdHandshakeLimitNs);
    EXPECT_EQ(ended, 0u);
    whole.shutdown();
    co_await scope_.join();
}
TEST_F(NbdConnectionTest, OnlyTheHandshakeHasALimit) { env_.run(dribbling_handshake()); }

// Two clients take all memory and read nothing. A third one needs some: they are cut, it is served.
Task<void> NbdConnectionTest::shortage() {
    Bytes bytes = hello();
    append(bytes, reads(10, 8 << 20));
    FeedStream first(env_, bytes, SIZE_MAX, SIZE_MAX, kSilent);
    FeedStream second(env_, bytes, SIZE_MAX, SIZE_MAX, kSilent);
    uint64_t first_ended = 0;
    uint64_t second_ended = 0;
    first.stop_reading_after(kHandshakeSends);
    second.stop_reading_after(kHandshakeSends);
    scope_.start(serve(first, first_ended));
    scope_.start(serve(second, second_ended));
    co_await sleep_for(env_, kNbdStallLimitNs * 10);
    EXPECT_EQ(registry_.budget.used_bytes(), kNbdBytesPerServer);
    EXPECT_EQ(first_ended, 0u);

    Bytes honest = hello();
    append(honest, reads(1, 1 << 20));
    append(honest, NbdTestClient::request(nbd::Command::disconnect, 9, 0, 0));
    FeedStream third(env_, honest, SIZE_MAX, SIZE_MAX, kSilent);
    uint64_t third_ended = 0;
    co_await serve(third, third_ended);
    EXPECT_GT(third.sent_bytes(), 1u << 20);
    EXPECT_NE(first_ended, 0u);
    first.shutdown();
    second.shutdown();
    co_await scope_.join();
}
TEST_F(NbdConnectionTest, ThoseWhoHoldMemoryIdlyAreCutInAShortage) { env_.run(shortage()); }

// The same with clients that never send the rest of their writes.
Task<void> NbdConnectionTest::half_a_payload_in_a_shortage() {
    Bytes bytes = hello();
    append(bytes, NbdTestClient::request(nbd::Command::write, 1, 0, 32 << 20));
    append(bytes, pattern(100000, 1));
    std::vector<std::unique_ptr<FeedStream>> streams;
    uint64_t ended = 0;
    for (int i = 0; i < 4; ++i) {
        streams.push_back(std::make_unique<FeedStream>(env_, bytes, SIZE_MAX, SIZE_MAX, kSilent));
        scope_.start(serve(*streams.back(), ended));
    }
    co_await yield(env_);
    co_await sleep_for(env_, kMillisecond);
    EXPECT_EQ(registry_.budget.used_bytes(), kNbdBytesPerServer);
    Bytes honest = hello();
    append(honest, reads(1, 1 << 20));
    append(honest, NbdTestClient::request(nbd::Command::disconnect, 9, 0, 0));
    FeedStream last(env_, honest, SIZE_MAX, SIZE_MAX, kSilent);
    uint64_t last_ended = 0;
    co_await serve(last, last_ended);
    EXPECT_GT(last.sent_bytes(), 1u << 20);
    for (const auto& stream : streams) stream->shutdown();
    co_await scope_.join();
    EXPECT_EQ(registry_.budget.used_bytes(), 0u);
}
TEST_F(NbdConnectionTest, ThoseWhoSendNoMoreAreCutInAShortage) {
    env_.run(half_a_payload_in_a_shortage());
}

// Nobody waits for memory: a client may take its time.
Task<void> NbdConnectionTest::no_shortage() {
    Bytes bytes = hello();
    append(bytes, reads(4, 8 << 20));
    FeedStream stream(env_, bytes, SIZE_MAX, SIZE_MAX, kSilent);
    uint64_t ended = 0;
    stream.stop_reading_after(kHandshakeSends);
    scope_.start(serve(stream, ended));
    co_await sleep_for(env_, 100 * kNbdStallLimitNs);
    EXPECT_EQ(ended, 0u);
    EXPECT_EQ(registry_.counters.requests, 4u);
    stream.shutdown();
    co_await scope_.join();
}
TEST_F(NbdConnectionTest, AStalledClientAloneIsLeftInPeace) { env_.run(no_shortage()); }

// The old client has closed its sending side and reads no replies, so that its requests would never
// all be read. The new one waits for the grace, not for ever.
Task<void> NbdConnectionTest::choked() {
    Bytes bytes = hello();
    append(bytes, reads(kNbdRequestsPerConnection + 50, 512));
    FeedStream old_stream(env_, bytes, 4096, SIZE_MAX, kSilent);
    uint64_t old_ended = 0;
    old_stream.stop_reading_after(kHandshakeSends);
    scope_.start(serve(old_stream, old_ended));
    co_await sleep_for(env_, kSecond);
    EXPECT_EQ(old_ended, 0u);
    EXPECT_EQ(registry_.counters.requests, kNbdRequestsPerConnection);
    old_stream.close_peer();

    Bytes honest = hello();
    append(honest, NbdTestClient::request(nbd::Command::disconnect, 9, 0, 0));
    FeedStream stream(env_, honest, SIZE_MAX, SIZE_MAX, kSilent);
    const uint64_t begin = env_.now_ns();
    uint64_t ended = 0;
    co_await serve(stream, ended);
    EXPECT_GE(ended - begin, kNbdDrainGraceNs);
    EXPECT_NE(old_ended, 0u);
    co_await scope_.join();
}
TEST_F(NbdConnectionTest, AChokedOldConnectionIsCutAfterTheGrace) { env_.run(choked()); }

}  // namespace
}  // namespace gemel::net
