// SPDX-License-Identifier: Apache-2.0
//
// The transmission phase of one NBD export over a succession of connections. Every request that
// has no answer stays in one list, in the order in which it was submitted; a new connection begins
// by sending that list again. So a request is never lost. There is never more than one connection:
// the one before is closed, and the server, which may see that late, has been told of the new one
// (NbdAnnouncement), so that no late duplicate can follow a newer write.
//
// Does no waiting of its own: the owner polls the socket and calls send and receive.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockdev/bytes.h"
#include "tools/attach/nbd_wire.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

// One request; owned by the caller, who keeps it and its payload until done() is called.
class NbdRequest {
public:
    virtual ~NbdRequest() = default;

    uint16_t command = 0;
    uint16_t flags = 0;
    uint64_t offset = 0;
    uint32_t length = 0;
    const std::byte* payload = nullptr;  // `length` bytes, for writes only.

    // Called once. `error` is an errno or 0; `data` holds what was read, valid during the call.
    virtual void done(int error, std::span<const std::byte> data) = 0;

protected:
    NbdRequest() = default;
    NbdRequest(const NbdRequest&) = delete;
    NbdRequest& operator=(const NbdRequest&) = delete;

private:
    friend class NbdLink;
    wire::Request header_{};
    uint32_t slot_ = 0;
    bool sent_ = false;  // Completely, on the present connection.
    NbdRequest* before_ = nullptr;
    NbdRequest* after_ = nullptr;
};

class NbdLink {
public:
    // `requests_max` bounds the requests in flight, `read_bytes_max` the length of one read. All
    // memory is taken here.
    NbdLink(uint32_t requests_max, uint32_t read_bytes_max);

    bool connected() const { return socket_.has_value(); }
    int socket() const { return connected() ? socket_->get() : -1; }
    bool wants_to_send() const { return connected() && next_to_send_ != nullptr; }
    bool idle() const { return oldest_ == nullptr; }
    uint32_t unanswered() const { return unanswered_; }
    // Answers received on the present connection.
    uint64_t answers() const { return answers_; }

    // Takes a connection on which nothing was sent yet. There must be none at present.
    void connect(FileDescriptor socket);
    // Closes the connection and keeps every unanswered request for the next one.
    void disconnect();
    // Queues a request behind all others. The caller stays within requests_max.
    void submit(NbdRequest& request);
    // Finishes every unanswered request with this error, oldest first. There must be no connection:
    // the server might answer them still.
    void fail_all(int error);

    // Move as many bytes as the socket takes or has. False: the connection is of no use any more;
    // why() tells, and the caller disconnects.
    bool send();
    bool receive();
    const std::string& why() const { return why_; }

private:
    bool lost(std::string why);
    bool send_some(bool& blocked);
    void mark_sent(size_t bytes);
    // Parses one reply at the front of the input; nullopt if it is not complete.
    std::optional<bool> take_reply();
    void finish(NbdRequest& request, int error, std::span<const std::byte> data);

    std::optional<FileDescriptor> socket_;
    std::string why_;
    uint64_t answers_ = 0;
    uint32_t generation_ = 0;

    NbdRequest* oldest_ = nullptr;
    NbdRequest* newest_ = nullptr;
    uint32_t unanswered_ = 0;
    NbdRequest* next_to_send_ = nullptr;
    size_t sent_of_next_ = 0;  // Bytes of next_to_send_, header included, already on the wire.

    std::vector<NbdRequest*> by_slot_;
    std::vector<uint32_t> free_slots_;

    size_t input_capacity_;
    AlignedBytes input_;
    size_t input_begin_ = 0;
    size_t input_end_ = 0;
};

}  // namespace gemel::tools
