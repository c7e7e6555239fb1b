// SPDX-License-Identifier: Apache-2.0
//
// The transmission phase of NbdConnection: reading requests and carrying them out.
#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "net/nbd_connection.h"

namespace gemel::net {

using nbd::Command;
using nbd::ErrorCode;

namespace {

// The memory that a request's answer needs beside its head.
size_t reply_buffer_bytes(const NbdRequest& request) {
    if (request.command == Command::read) return request.length;
    if (request.command != Command::block_status) return 0;
    return kNbdExtentsMax * sizeof(nbd::BlockStatusEntry);
}

// What of a failed read is tried on its own.
constexpr uint64_t kPiece = 4096;

bool has_parts(const NbdRequest& request) {
    return request.offset / kPiece != (request.offset + request.length - 1) / kPiece;
}

// Not of the request, or of the service as a whole: another part may well be readable.
bool is_of_the_medium(const Error& error) {
    return error.code == Errc::io || error.code == Errc::corrupt;
}

}  // namespace

Task<void> NbdConnection::receive_requests() {
    while (!closing()) {
        const auto unread = input_->unread();
        if (unread.size() < sizeof(nbd::RequestHeader)) {
            if (!co_await fill(sizeof(nbd::RequestHeader))) co_return;
            continue;
        }
        const auto decoded = decode_request(unread.first<sizeof(nbd::RequestHeader)>(), terms_);
        if (!decoded.ok()) {
            log(LogLevel::warning, decoded.error().where);
            co_return;
        }
        const NbdRequest& request = decoded.value();
        input_->consume(sizeof(nbd::RequestHeader));
        while (in_flight_ >= kNbdRequestsPerConnection && !closing()) co_await changed_.wait();
        if (closing()) co_return;
        ++registry_.counters.requests;
        if (request.has_payload()) {
            if (payload_is_here(request)) {
                start_write(request);
                continue;
            }
            const bool received = co_await receive_payload(request);
            if (!received) co_return;
        } else if (request.error != ErrorCode::none) {
            ++in_flight_;
            refuse(request, request.error, request.reason);
        } else if (request.command == Command::disconnect) {
            co_return;
        } else if (const size_t bytes = reply_buffer_bytes(request); bytes != 0) {
            const uint64_t charge = buffer_charge(bytes);
            bool granted = account_.try_take(charge);
            if (!granted) granted = co_await account_.take(charge);
            if (!granted) co_return;
            NbdBuffer buffer(registry_.pool, account_, bytes, charge);
            begin(request.command == Command::read ? do_read(request, std::move(buffer))
                                                   : do_block_status(request, std::move(buffer)));
        } else {
            begin(do_range(request));
        }
    }
}

// Receives until `wanted` bytes are unread. False at the end of the stream.
Task<bool> NbdConnection::fill(size_t wanted) {
    while (input_->unread().size() < wanted) {
        if (!input_->make_room(wanted)) {
            const uint64_t charge = buffer_charge(NbdInput::kChunkBytes);
            bool granted = account_.try_take(charge);
            if (!granted) granted = co_await account_.take(charge);
            if (!granted) co_return false;
            input_->replace(NbdBuffer(registry_.pool, account_, NbdInput::kChunkBytes, charge));
        }
        std::span<std::byte> room = input_->room();
        // Large payloads go straight to memory of their own. With them, a receive that took more
        // than a head would take part of the payload along, to be copied.
        const bool only_head = expects_large_ && input_->unread().empty();
        if (only_head) room = room.first(sizeof(nbd::RequestHeader));
        const Result<size_t> received = co_await stream_.receive(room);
        if (!received.ok() || received.value() == 0) co_return false;
        input_->received(received.value());
    }
    co_return true;
}

// Reads over the payload of a write that is refused.
Task<bool> NbdConnection::discard_payload(size_t length) {
    while (true) {
        const size_t taken = std::min(length, input_->unread().size());
        input_->consume(taken);
        length -= taken;
        if (length == 0) co_return true;
        if (closing()) co_return false;
        const bool filled = co_await fill(1);
        if (!filled) co_return false;
    }
}

bool NbdConnection::payload_is_here(const NbdRequest& request) const {
    return request.error == ErrorCode::none && input_->unread().size() >= request.length;
}

void NbdConnection::start_write(const NbdRequest& request) {
    const auto data = input_->unread().first(request.length);
    input_->consume(request.length);
    begin(do_write(request, data, input_->pin(), {}));
}

Task<bool> NbdConnection::receive_payload(NbdRequest request) {
    if (request.error != ErrorCode::none) {
        if (!co_await discard_payload(request.length)) co_return false;
        ++in_flight_;
        refuse(request, request.error, request.reason);
        co_return true;
    }
    expects_large_ = request.length > NbdInput::kChunkBytes / 2;
    if (expects_large_) co_return co_await receive_large_write(request);
    const bool filled = co_await fill(request.length);
    if (!filled || closing()) co_return false;
    start_write(request);
    co_return true;
}

Task<bool> NbdConnection::receive_large_write(NbdRequest request) {
    const uint64_t charge = buffer_charge(request.length);
    bool granted = account_.try_take(charge);
    if (!granted) granted = co_await account_.take(charge);
    if (!granted) co_return false;
    NbdBuffer buffer(registry_.pool, account_, request.length, charge);
    const auto unread = input_->unread();
    size_t filled = unread.size();
    CHECK(filled < buffer.size());
    if (filled != 0) std::memcpy(buffer.data(), unread.data(), filled);
    input_->consume(filled);
    while (filled < buffer.size()) {
        payload_since_ns_ = env_.now_ns();
        const Result<size_t> received = co_await stream_.receive(buffer.span().subspan(filled));
        payload_since_ns_ = 0;
        if (!received.ok() || received.value() == 0) co_return false;
        filled += received.value();
    }
    if (closing()) co_return false;
    const std::span<const std::byte> data = buffer.span();
    begin(do_write(request, data, {}, std::move(buffer)));
    co_return true;
}

void NbdConnection::begin(Task<void> work) {
    ++in_flight_;
    requests_.start(std::move(work));
}

Task<void> NbdConnection::do_read(NbdRequest request, NbdBuffer buffer) {
    const Status status = co_await device_.read(request.offset, buffer.span());
    if (!status.ok() && terms_.structured_replies && has_parts(request) &&
        is_of_the_medium(status.error())) {
        co_await read_in_parts(request, std::move(buffer), status);
    } else if (!status.ok()) {
        answer(request, status);
    } else if (terms_.structured_replies) {
        replies_.add(data_reply(request.cookie, request.offset, request.length), std::move(buffer),
                     request.length);
    } else {
        replies_.add(simple_reply(request.cookie, ErrorCode::none), std::move(buffer),
                     request.length);
    }
}

// Part of it cannot be read: the client gets the rest, and is told exactly what is missing.
Task<void> NbdConnection::read_in_parts(NbdRequest request, NbdBuffer buffer, Status whole) {
    std::vector<NbdReplyQueue::Part> parts;
    const auto add = [&](uint64_t offset, std::span<const std::byte> data, bool good) {
        NbdReplyQueue::Part part;
        if (good) {
            part.head = data_chunk(request.cookie, offset, static_cast<uint32_t>(data.size()));
            part.data = data;
        } else {
            part.head = error_offset_chunk(request.cookie, ErrorCode::io, offset);
        }
        parts.push_back(part);
    };
    size_t begin = 0;  // Of the run of pieces that are all good, or all bad.
    bool run_is_good = true;
    for (size_t at = 0; at < buffer.size() && parts.size() < kNbdReplyPartsMax;) {
        const uint64_t offset = request.offset + at;
        const size_t length = std::min<size_t>(buffer.size() - at, kPiece - offset % kPiece);
        const Status status = co_await device_.read(offset, buffer.span().subspan(at, length));
        if (status.ok() != run_is_good && at > begin) {
            add(request.offset + begin, buffer.span().subspan(begin, at - begin), run_is_good);
            begin = at;
        }
        run_is_good = status.ok();
        at += length;
    }
    if (parts.size() >= kNbdReplyPartsMax || (parts.empty() && !run_is_good)) {
        answer(request, whole);
        co_return;
    }
    add(request.offset + begin, buffer.span().subspan(begin), run_is_good);
    ++registry_.counters.failed;
    parts.push_back({empty_reply(request.cookie), {}});
    replies_.add_parts(std::move(parts), std::move(buffer));
}

// `pin` and `buffer` own the memory that `data` lies in.
Task<void> NbdConnection::do_write(NbdRequest request, std::span<const std::byte> data,
                                   [[maybe_unused]] NbdPin pin, [[maybe_unused]] NbdBuffer buffer) {
    const WriteOptions options{.fua = (request.flags & nbd::kFlagFua) != 0};
    answer(request, co_await device_.write(request.offset, data, options));
}

// Everything without data: flush, trim, write-zeroes, cache, and reads of nothing.
Task<void> NbdConnection::do_range(NbdRequest request) {
    const bool fua = (request.flags & nbd::kFlagFua) != 0;
    if (request.command == Command::flush) {
        answer(request, co_await device_.flush());
    } else if (request.command == Command::trim) {
        answer(request, co_await device_.trim(request.offset, request.length, {.fua = fua}));
    } else if (request.command == Command::write_zeroes) {
        const ZeroOptions options{.fua = fua,
                                  .keep_allocated = (request.flags & nbd::kFlagNoHole) != 0,
                                  .fast_only = (request.flags & nbd::kFlagFastZero) != 0};
        answer(request, co_await device_.write_zeroes(request.offset, request.length, options));
    } else {
        // Below us no data is cached, so that there is nothing for CACHE to fill.
        answer(request, Status::success());
    }
}

Task<void> NbdConnection::do_block_status(NbdRequest request, NbdBuffer buffer) {
    const size_t limit = (request.flags & nbd::kFlagReqOne) != 0 ? 1 : kNbdExtentsMax;
    const auto extents = co_await device_.extents(request.offset, request.length, limit);
    if (!extents.ok()) {
        answer(request, extents.error());
        co_return;
    }
    const auto entries = block_status_entries(extents.value(), request.length);
    const auto bytes = std::as_bytes(std::span(entries));
    if (entries.empty() || bytes.size() > buffer.size()) {
        answer(request, Error{Errc::io, 0, "the device's extents make no sense"});
        co_return;
    }
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    replies_.add(block_status_reply(request.cookie, kBaseAllocationId, entries.size()),
                 std::move(buffer), bytes.size());
}

void NbdConnection::answer(const NbdRequest& request, const Status& status) {
    if (!status.ok()) {
        const Error& error = status.error();
        return refuse(request, error_code(error), error.text());
    }
    // A simple reply says it in fewer bytes; a read must not be answered with one any more.
    const bool needs_chunk = terms_.structured_replies && request.command == Command::read;
    replies_.add(needs_chunk ? empty_reply(request.cookie)
                             : simple_reply(request.cookie, ErrorCode::none));
}

void NbdConnection::refuse(const NbdRequest& request, ErrorCode error, std::string_view reason) {
    ++registry_.counters.failed;
    if (!terms_.structured_replies) {
        replies_.add(simple_reply(request.cookie, error));
    } else if (request.command == Command::read) {
        replies_.add(error_offset_reply(request.cookie, error, reason, request.offset));
    } else {
        replies_.add(error_reply(request.cookie, error, reason));
    }
}

}  // namespace gemel::net
