// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_reply_queue.h"

#include <cstring>

#include "blockdev/assert.h"

namespace gemel::net {

NbdReplyQueue::NbdReplyQueue(Loop& loop, Stream& stream, size_t capacity,
                             void (*on_sent)(void* context, size_t replies), void* context)
    : loop_(loop), stream_(stream), capacity_(capacity), on_sent_(on_sent), context_(context) {
    for (Batch& batch : batches_) {
        batch.heads =
            std::make_unique_for_overwrite<std::byte[]>(capacity * NbdReplyHead::kBytesMax);
    }
    hook_.context = this;
    hook_.run = [](void* self) { static_cast<NbdReplyQueue*>(self)->send(); };
    request_.sending = true;
    request_.done.context = this;
    request_.done.run = [](void* self) { static_cast<NbdReplyQueue*>(self)->finish_send(); };
}

NbdReplyQueue::~NbdReplyQueue() { CHECK(idle()); }

void NbdReplyQueue::add(const NbdReplyHead& head, NbdBuffer data, size_t data_bytes) {
    if (broken_) return on_sent_(context_, 1);
    Batch& batch = gathering();
    CHECK(batch.replies < capacity_);
    const auto bytes = head.bytes();
    std::byte* place = batch.heads.get() + batch.heads_bytes;
    std::memcpy(place, bytes.data(), bytes.size());
    batch.heads_bytes += bytes.size();
    // Heads without data between them lie side by side and go out as one segment.
    IoSegment* last = batch.segments.empty() ? nullptr : &batch.segments.back();
    if (last != nullptr && last->data + last->length == place) {
        last->length += bytes.size();
    } else {
        batch.segments.push_back({place, bytes.size()});
    }
    if (data_bytes != 0) {
        CHECK(data_bytes <= data.size());
        batch.segments.push_back({data.data(), data_bytes});
        batch.buffers.push_back(std::move(data));
    }
    batch.bytes += bytes.size() + data_bytes;
    ++batch.replies;
    schedule();
}

void NbdReplyQueue::add_parts(std::vector<Part> parts, NbdBuffer data) {
    if (broken_) return on_sent_(context_, 1);
    Batch& batch = gathering();
    CHECK(batch.replies < capacity_);
    for (const Part& part : batch.parts.emplace_back(std::move(parts))) {
        for (const auto bytes : {part.head.bytes(), part.data}) {
            if (bytes.empty()) continue;
            batch.segments.push_back({const_cast<std::byte*>(bytes.data()), bytes.size()});
            batch.bytes += bytes.size();
        }
    }
    batch.buffers.push_back(std::move(data));
    ++batch.replies;
    schedule();
}

void NbdReplyQueue::schedule() {
    if (scheduled_ || sending_) return;
    scheduled_ = true;
    loop_.at_turn_end(hook_);
}

void NbdReplyQueue::send() {
    scheduled_ = false;
    Batch& batch = gathering();
    if (broken_) return release(batch);
    in_flight_ = 1 - in_flight_;
    sending_ = true;
    sending_since_ns_ = loop_.now_ns();
    request_.segments = batch.segments.data();
    request_.segment_count = static_cast<uint32_t>(batch.segments.size());
    request_.length = batch.bytes;
    request_.status = Status();
    stream_.submit(request_);
}

void NbdReplyQueue::finish_send() {
    sending_ = false;
    if (!request_.status.ok()) {
        // A partial reply cannot be taken back: nothing that follows would be understood.
        broken_ = true;
        stream_.shutdown();
    }
    if (gathering().replies != 0) {
        scheduled_ = true;
        loop_.at_turn_end(hook_);
    }
    release(batches_[in_flight_]);
}

void NbdReplyQueue::release(Batch& batch) {
    const size_t replies = batch.replies;
    batch.heads_bytes = 0;
    batch.segments.clear();
    batch.buffers.clear();
    batch.parts.clear();
    batch.replies = 0;
    batch.bytes = 0;
    if (replies != 0) on_sent_(context_, replies);
}

}  // namespace gemel::net
