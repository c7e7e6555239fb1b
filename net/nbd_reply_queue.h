// SPDX-License-Identifier: Apache-2.0
//
// NbdReplyQueue: gathers the replies of a turn and sends them with one call. While a send is in
// flight the next ones gather. Read data is sent from where it was read to.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "blockdev/env.h"
#include "net/nbd_budget.h"
#include "net/nbd_reply.h"

namespace gemel::net {

class NbdReplyQueue {
public:
    // At most `capacity` replies are in the queue at a time. `on_sent(context, n)` runs when n of
    // them have left it: sent, or dropped because the connection is broken.
    NbdReplyQueue(Loop& loop, Stream& stream, size_t capacity,
                  void (*on_sent)(void* context, size_t replies), void* context);
    ~NbdReplyQueue();
    NbdReplyQueue(const NbdReplyQueue&) = delete;
    NbdReplyQueue& operator=(const NbdReplyQueue&) = delete;

    // Queues a head and the first `data_bytes` of `data` behind it.
    void add(const NbdReplyHead& head, NbdBuffer data = {}, size_t data_bytes = 0);

    // Queues one reply of several chunks, each a head with the part of `data` that follows it.
    struct Part {
        NbdReplyHead head;
        std::span<const std::byte> data;
    };
    void add_parts(std::vector<Part> parts, NbdBuffer data);

    // Nothing is queued, in flight or scheduled: the queue may be destroyed.
    bool idle() const { return !scheduled_ && !sending_ && gathering().replies == 0; }
    // A send has failed: nobody hears us any more.
    bool broken() const { return broken_; }
    // When the send in flight began; 0 if there is none.
    uint64_t sending_since_ns() const { return sending_ ? sending_since_ns_ : 0; }

private:
    struct Batch {
        std::unique_ptr<std::byte[]> heads;
        size_t heads_bytes = 0;
        std::vector<IoSegment> segments;
        std::vector<NbdBuffer> buffers;
        std::vector<std::vector<Part>> parts;  // Of replies that have several.
        size_t replies = 0;
        size_t bytes = 0;
    };

    const Batch& gathering() const { return batches_[1 - in_flight_]; }
    Batch& gathering() { return batches_[1 - in_flight_]; }
    void schedule();
    void send();
    void finish_send();
    void release(Batch& batch);

    Loop& loop_;
    Stream& stream_;
    size_t capacity_;
    void (*on_sent_)(void* context, size_t replies);
    void* context_;
    Continuation hook_;
    StreamRequest request_;
    std::array<Batch, 2> batches_;
    size_t in_flight_ = 0;  // Which batch the send in flight, or the last one, is of.
    bool scheduled_ = false;
    bool sending_ = false;
    bool broken_ = false;
    uint64_t sending_since_ns_ = 0;
};

}  // namespace gemel::net
