// SPDX-License-Identifier: Apache-2.0
//
// Connections as the product sees them: the network half of the seam.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "blockdev/disk.h"
#include "blockdev/loop.h"
#include "blockdev/result.h"

namespace gemel {

// Where a server listens: a unix socket's path, or a host and a port.
struct Address {
    std::string unix_path;  // Not empty: a unix socket.
    std::string host;       // Else TCP.
    uint16_t port = 0;      // 0 when listening: the system chooses.

    // "unix:PATH" or "HOST:PORT" (an IPv6 host in brackets).
    std::string text() const;
    static Outcome<Address> parse(const std::string& text);
};

struct StreamRequest {
    bool sending = false;
    const IoSegment* segments = nullptr;  // One when receiving. Sending leaves them unchanged.
    uint32_t segment_count = 0;
    size_t length = 0;  // Bytes in all segments.
    Continuation done;
    Status status;
    size_t transferred = 0;  // When receiving: 0 is the end of the stream.
    uint64_t private_to_stream[16] = {};
};

// A connected byte stream. One receive and one send may be in flight at a time. Destroyed only when
// neither is: shutdown(), await what is pending, then destroy.
class Stream {
public:
    virtual ~Stream() = default;

    virtual void submit(StreamRequest& request) = 0;
    // Ends both directions: pending and later operations finish (receive with 0 or an error).
    virtual void shutdown() = 0;
    // True once the peer has closed its end, even if bytes it sent before are still unread.
    virtual bool peer_closed() const = 0;
    // The peer, for logs.
    virtual const std::string& peer() const = 0;

    class Receive;
    class Send;
    // Result<size_t>: at least one byte, or 0 at the end of the stream.
    Receive receive(std::span<std::byte> data);
    // Status: everything was handed to the transport, or the connection is useless.
    Send send(std::span<const std::byte> data);
    Send send_segments(std::span<const IoSegment> segments);
};

class Stream::Receive {
public:
    Receive(Stream& stream, std::span<std::byte> data) : stream_(stream) {
        segment_ = {data.data(), data.size()};
        request_.segments = &segment_;
        request_.segment_count = 1;
        request_.length = data.size();
    }
    Receive(const Receive&) = delete;
    Receive& operator=(const Receive&) = delete;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        request_.done.resumes(handle);
        stream_.submit(request_);
    }
    Result<size_t> await_resume() {
        if (!request_.status.ok()) return request_.status.error();
        return request_.transferred;
    }

private:
    Stream& stream_;
    IoSegment segment_;
    StreamRequest request_;
};

class Stream::Send {
public:
    Send(Stream& stream, IoSegment segment) : stream_(stream), segment_(segment) {
        request_.sending = true;
        request_.segments = &segment_;
        request_.segment_count = 1;
        request_.length = segment.length;
    }
    Send(Stream& stream, std::span<const IoSegment> segments) : stream_(stream) {
        request_.sending = true;
        request_.segments = segments.data();
        request_.segment_count = static_cast<uint32_t>(segments.size());
        for (const IoSegment& segment : segments) request_.length += segment.length;
    }
    Send(const Send&) = delete;
    Send& operator=(const Send&) = delete;
    bool await_ready() const { return request_.length == 0; }
    void await_suspend(std::coroutine_handle<> handle) {
        request_.done.resumes(handle);
        stream_.submit(request_);
    }
    Status await_resume() { return request_.status; }

private:
    Stream& stream_;
    IoSegment segment_;
    StreamRequest request_;
};

inline Stream::Receive Stream::receive(std::span<std::byte> data) { return {*this, data}; }
inline Stream::Send Stream::send(std::span<const std::byte> data) {
    return {*this, IoSegment{const_cast<std::byte*>(data.data()), data.size()}};
}
inline Stream::Send Stream::send_segments(std::span<const IoSegment> segments) {
    return {*this, segments};
}

}  // namespace gemel
