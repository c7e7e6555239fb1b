// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_connection.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "blockdev/assert.h"

namespace gemel::net {

NbdConnection::NbdConnection(NbdRegistry& registry, Stream& stream)
    : registry_(registry),
      env_(registry.env),
      device_(registry.device),
      stream_(stream),
      account_(registry.budget, kNbdBytesPerConnection),
      replies_(
          registry.env, stream, kNbdRequestsPerConnection,
          [](void* self, size_t n) { static_cast<NbdConnection*>(self)->replies_left(n); }, this),
      changed_(registry.env),
      requests_(registry.env),
      helpers_(registry.env) {
    registry_.add(*this);
}

NbdConnection::~NbdConnection() { registry_.remove(*this); }

Task<void> NbdConnection::run() {
    helpers_.start(watch_handshake());
    const bool agreed = co_await handshake();
    if (agreed) co_await receive_requests();
    co_await requests_.join();
    phase_ = Phase::finishing;
    changed_.notify_all();
    registry_.something_ended();
    while (!replies_.idle()) co_await changed_.wait();
    CHECK(in_flight_ == 0);
    cut("");
    co_await helpers_.join();
    // A finished send posts nothing more; what it left scheduled was awaited above.
    CHECK(replies_.idle());
    input_.reset();
}

void NbdConnection::finish() {
    if (closing()) return;
    finishing_ = true;
    account_.close();
    changed_.notify_all();
    if (phase_ != Phase::serving) return cut("");
    helpers_.start(watch_finish());
}

Task<void> NbdConnection::watch_finish() {
    while (!cut_ && (in_flight_ != 0 || !replies_.idle())) co_await changed_.wait();
    cut("");
}

void NbdConnection::cut(const char* reason) {
    if (cut_) return;
    cut_ = true;
    if (*reason != '\0') log(LogLevel::warning, std::string("cut off: ") + reason);
    stream_.shutdown();
    account_.close();
    changed_.notify_all();
}

uint64_t NbdConnection::waits_for_client(uint64_t now_ns) const {
    uint64_t since = now_ns;
    if (const uint64_t sending = replies_.sending_since_ns(); sending != 0) since = sending;
    if (payload_since_ns_ != 0) since = std::min(since, payload_since_ns_);
    return now_ns - std::min(since, now_ns);
}

void NbdConnection::replies_left(size_t replies) {
    CHECK(replies <= in_flight_);
    in_flight_ -= replies;
    // Whoever hears no answers is not served any further.
    if (replies_.broken()) cut("");
    if (changed_.has_waiters()) changed_.notify_all();
}

void NbdConnection::log(LogLevel level, std::string_view text) {
    env_.log(level, "NBD client " + stream_.peer() + ": " + std::string(text));
}

// A client that leaves the handshake unfinished holds one of a limited number of places.
Task<void> NbdConnection::watch_handshake() {
    const uint64_t limit = env_.now_ns() + kNbdHandshakeLimitNs;
    while (phase_ == Phase::handshake && !cut_) {
        const bool notified = co_await changed_.wait_until(limit);
        if (!notified && phase_ == Phase::handshake) cut("the handshake took too long");
    }
}

Task<bool> NbdConnection::handshake() {
    NbdHandshake handshake(registry_.exported);
    std::vector<std::byte> input;
    const bool agreed = co_await negotiate(handshake, input);
    if (!agreed) {
        if (!cut_ && *handshake.reason() != '\0') log(LogLevel::warning, handshake.reason());
        co_return false;
    }
    phase_ = Phase::waiting;
    changed_.notify_all();
    const bool may_begin = co_await registry_.wait_for_closed_peers(*this);
    if (!may_begin || closing()) co_return false;
    // Without suspending since the wait: whoever looks from now on waits for us.
    phase_ = Phase::serving;
    terms_ = handshake.terms();
    NbdBuffer first(registry_.pool, account_, NbdInput::kChunkBytes, 0);
    input_ = std::make_unique<NbdInput>(std::move(first));
    // Requests may have come along with the last option.
    CHECK(input.size() <= NbdInput::kChunkBytes);
    std::memcpy(input_->room().data(), input.data(), input.size());
    input_->received(input.size());
    const Status sent = co_await stream_.send(handshake.output());
    co_return sent.ok();
}

// On agreement its last answer is still to be sent, and `input` holds what came after it.
Task<bool> NbdConnection::negotiate(NbdHandshake& handshake, std::vector<std::byte>& input) {
    constexpr size_t kReceiveBytes = 4096;
    static_assert(NbdHandshake::kOptionBytesMax + sizeof(nbd::OptionHeader) + kReceiveBytes <=
                  NbdInput::kChunkBytes);
    while (true) {
        const size_t taken = handshake.consume(input);
        input.erase(input.begin(), input.begin() + static_cast<ptrdiff_t>(taken));
        if (handshake.phase() == NbdHandshake::Phase::announced) {
            const bool answered = co_await announce(handshake);
            if (!answered) co_return false;
        }
        if (handshake.phase() == NbdHandshake::Phase::agreed) co_return true;
        if (taken != 0 && !handshake.ended()) continue;
        const Status sent = co_await stream_.send(handshake.output());
        handshake.output().clear();
        if (!sent.ok() || handshake.ended() || closing()) co_return false;
        const size_t had = input.size();
        input.resize(had + kReceiveBytes);
        const Result<size_t> received =
            co_await stream_.receive(std::span(input).subspan(had, kReceiveBytes));
        if (!received.ok() || received.value() == 0) co_return false;
        input.resize(had + received.value());
    }
}

// The acknowledgement promises that no older request of the client is carried out after it. False
// if there is nobody to be answered any more.
Task<bool> NbdConnection::announce(NbdHandshake& handshake) {
    announcement_ = handshake.announcement();
    const bool newest = co_await registry_.supersede_older(*this);
    if (closing() || peer_closed()) co_return false;
    handshake.answer_announcement(newest);
    co_return true;
}

}  // namespace gemel::net
