// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_link.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "blockdev/assert.h"

namespace gemel::tools {
namespace {

constexpr int kRequestsPerSend = 32;
// Room beyond the largest single reply, so that many small ones arrive in one call.
constexpr size_t kInputSlackBytes = 128u << 10;
// A server that answers faster than we read must not keep us from our other duties.
constexpr int kReceivesPerCall = 16;

// The protocol's error numbers are Linux's; anything else becomes EIO.
int errno_of(uint32_t error) {
    switch (error) {
        case EPERM:
        case EIO:
        case ENOMEM:
        case EINVAL:
        case ENOSPC:
        case EOVERFLOW:
        case EOPNOTSUPP: return static_cast<int>(error);
        default: return EIO;
    }
}

}  // namespace

NbdLink::NbdLink(uint32_t requests_max, uint32_t read_bytes_max)
    : by_slot_(requests_max, nullptr),
      input_capacity_(sizeof(wire::SimpleReply) + read_bytes_max + kInputSlackBytes),
      input_(allocate_zeroed(input_capacity_)) {
    for (uint32_t slot = requests_max; slot > 0; --slot) free_slots_.push_back(slot - 1);
}

void NbdLink::connect(FileDescriptor socket) {
    CHECK(!connected());
    socket_.emplace(std::move(socket));
    answers_ = 0;
    input_begin_ = 0;
    input_end_ = 0;
    next_to_send_ = oldest_;
    sent_of_next_ = 0;
    for (NbdRequest* each = oldest_; each != nullptr; each = each->after_) each->sent_ = false;
}

void NbdLink::disconnect() {
    socket_.reset();
    next_to_send_ = nullptr;
}

void NbdLink::submit(NbdRequest& request) {
    CHECK(!free_slots_.empty());
    request.slot_ = free_slots_.back();
    free_slots_.pop_back();
    by_slot_[request.slot_] = &request;
    request.header_.magic = wire::kRequestMagic;
    request.header_.flags = request.flags;
    request.header_.command = request.command;
    // The upper half tells a late answer to an earlier user of the slot from one to this request.
    request.header_.cookie = (uint64_t{++generation_} << 32) | request.slot_;
    request.header_.offset = request.offset;
    request.header_.length = request.length;
    request.sent_ = false;
    request.before_ = newest_;
    request.after_ = nullptr;
    (newest_ != nullptr ? newest_->after_ : oldest_) = &request;
    newest_ = &request;
    ++unanswered_;
    if (connected() && next_to_send_ == nullptr) {
        next_to_send_ = &request;
        sent_of_next_ = 0;
    }
}

void NbdLink::fail_all(int error) {
    CHECK(!connected());
    while (oldest_ != nullptr) finish(*oldest_, error, {});
}

void NbdLink::finish(NbdRequest& request, int error, std::span<const std::byte> data) {
    CHECK(by_slot_[request.slot_] == &request);
    by_slot_[request.slot_] = nullptr;
    free_slots_.push_back(request.slot_);
    (request.before_ != nullptr ? request.before_->after_ : oldest_) = request.after_;
    (request.after_ != nullptr ? request.after_->before_ : newest_) = request.before_;
    --unanswered_;
    request.done(error, data);
}

bool NbdLink::lost(std::string why) {
    why_ = std::move(why);
    return false;
}

bool NbdLink::send() {
    bool blocked = false;
    while (!blocked && wants_to_send()) {
        if (!send_some(blocked)) return false;
    }
    return true;
}

bool NbdLink::send_some(bool& blocked) {
    std::array<iovec, 2 * kRequestsPerSend> pieces;
    size_t count = 0;
    size_t skip = sent_of_next_;
    const auto add = [&](const void* data, size_t length) {
        const size_t skipped = std::min(skip, length);
        skip -= skipped;
        if (skipped == length) return;
        const char* from = static_cast<const char*>(data) + skipped;
        pieces[count++] = iovec{const_cast<char*>(from), length - skipped};
    };
    int requests = 0;
    for (NbdRequest* each = next_to_send_; each != nullptr && requests < kRequestsPerSend;
         each = each->after_, ++requests) {
        add(&each->header_, sizeof each->header_);
        if (each->payload != nullptr) add(each->payload, each->length);
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t n = sendmsg(socket(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        mark_sent(static_cast<size_t>(n));
        return true;
    }
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
        blocked = true;
        return true;
    }
    return errno == EINTR || lost(std::strerror(errno));
}

void NbdLink::mark_sent(size_t bytes) {
    sent_of_next_ += bytes;
    while (next_to_send_ != nullptr) {
        const size_t payload = next_to_send_->payload != nullptr ? next_to_send_->length : 0;
        const size_t whole = sizeof(wire::Request) + payload;
        if (sent_of_next_ < whole) return;
        sent_of_next_ -= whole;
        next_to_send_->sent_ = true;
        next_to_send_ = next_to_send_->after_;
    }
}

bool NbdLink::receive() {
    for (int turn = 0; turn < kReceivesPerCall; ++turn) {
        if (input_begin_ > 0) {
            // The rest of an incomplete reply moves to the front: once per batch of replies.
            std::memmove(input_.get(), input_.get() + input_begin_, input_end_ - input_begin_);
            input_end_ -= input_begin_;
            input_begin_ = 0;
        }
        const size_t room = input_capacity_ - input_end_;
        CHECK(room > 0);
        const ssize_t n = recv(socket(), input_.get() + input_end_, room, MSG_DONTWAIT);
        if (n == 0) return lost("the server closed the connection");
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN || lost(std::strerror(errno));
        input_end_ += static_cast<size_t>(n);
        for (;;) {
            const std::optional<bool> taken = take_reply();
            if (!taken) break;
            if (!*taken) return false;
        }
        if (static_cast<size_t>(n) < room) return true;
    }
    return true;
}

std::optional<bool> NbdLink::take_reply() {
    const size_t available = input_end_ - input_begin_;
    wire::SimpleReply reply;
    if (available < sizeof reply) return std::nullopt;
    std::memcpy(&reply, input_.get() + input_begin_, sizeof reply);
    if (reply.magic != wire::kSimpleReplyMagic) return lost("the server sent garbage");
    const uint64_t cookie = reply.cookie;
    const uint32_t slot = static_cast<uint32_t>(cookie);
    NbdRequest* const request = slot < by_slot_.size() ? by_slot_[slot] : nullptr;
    if (request == nullptr || request->header_.cookie != cookie || !request->sent_) {
        return lost("the server answered what was not asked");
    }
    if (reply.error == wire::kErrorShutdown) return lost("the server is shutting down");
    const bool has_data = request->command == wire::kCommandRead && reply.error == 0;
    const size_t length = has_data ? request->length : 0;
    if (available < sizeof reply + length) return std::nullopt;
    const std::span data(input_.get() + input_begin_ + sizeof reply, length);
    input_begin_ += sizeof reply + length;
    ++answers_;
    finish(*request, reply.error == 0 ? 0 : errno_of(reply.error), data);
    return true;
}

}  // namespace gemel::tools
