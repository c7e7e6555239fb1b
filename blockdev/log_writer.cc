// SPDX-License-Identifier: Apache-2.0
#include "blockdev/log_writer.h"

#include "blockdev/assert.h"

namespace gemel::blockdev {

LogWriter::LogWriter(Loop& loop, Disk& disk, const Layout& layout, const LogTail& tail)
    : loop_(loop),
      disk_(disk),
      ring_size_(layout.log_size),
      head_(tail.ring_offset),
      logged_sequence_(tail.sequence - 1),
      next_sequence_(tail.sequence),
      chain_hash_(tail.previous_hash) {}

bool LogWriter::has_room(uint64_t batch_bytes) const {
    return used_ + ring_cost(ring_size_, head_, batch_bytes) <= ring_size_ - kLogReserve;
}

LogWriter::Record& LogWriter::push(BatchRef batch, uint64_t offset) {
    CHECK(batch->first_sequence() == next_sequence_);
    CHECK(offset == ring_place(ring_size_, head_, batch->size()));
    const uint64_t cost = ring_cost(ring_size_, head_, batch->size());
    CHECK(used_ + cost <= ring_size_);
    used_ += cost;
    head_ = offset + batch->size();
    next_sequence_ = batch->last_sequence() + 1;
    chain_hash_ = batch->hash();
    return records_.emplace_back(Record{std::move(batch), offset, cost, false});
}

// The record outlives the append: a batch is released only after it was logged.
void LogWriter::append(AppendRequest& request) {
    CHECK(has_room(request.batch->size()));
    Record& record = push(request.batch, ring_place(ring_size_, head_, request.batch->size()));
    const std::span<const std::byte> bytes = record.batch->bytes();
    request.writer = this;
    request.log_record = &record;
    request.segment = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    request.io = IoRequest{};
    request.io.kind = IoKind::write;
    request.io.offset = kLogOffset + record.offset;
    request.io.length = bytes.size();
    request.io.segments = &request.segment;
    request.io.segment_count = 1;
    request.io.done.run = on_logged;
    request.io.done.context = &request;
    disk_.submit(request.io);
}

void LogWriter::on_logged(void* context) {
    auto& request = *static_cast<AppendRequest*>(context);
    auto& writer = *static_cast<LogWriter*>(request.writer);
    request.status = request.io.status;
    if (request.status.ok()) {
        static_cast<Record*>(request.log_record)->logged = true;
        writer.advance_logged();
    }
    writer.loop_.post(request.done);
}

void LogWriter::advance_logged() {
    while (logged_records_ < records_.size() && records_[logged_records_].logged) {
        logged_sequence_ = records_[logged_records_++].batch->last_sequence();
    }
}

void LogWriter::adopt(BatchRef batch, uint64_t offset) {
    push(std::move(batch), offset).logged = true;
    advance_logged();
}

LogTail LogWriter::tail_after(size_t count) const {
    LogTail tail;
    if (count < records_.size()) {
        tail.ring_offset = records_[count].offset;
        tail.sequence = records_[count].batch->first_sequence();
        tail.previous_hash = records_[count].batch->header().previous_hash;
    } else {
        tail.ring_offset = head_;
        tail.sequence = next_sequence_;
        tail.previous_hash = chain_hash_;
    }
    return tail;
}

void LogWriter::release(size_t count) {
    CHECK(count <= logged_records_);
    for (size_t i = 0; i < count; ++i) {
        used_ -= records_.front().cost;
        records_.pop_front();
    }
    logged_records_ -= count;
}

void LogWriter::restart(uint64_t chain_hash) {
    CHECK(records_.empty());
    chain_hash_ = chain_hash;
}

void LogWriter::drop() {
    records_.clear();
    logged_records_ = 0;
    used_ = 0;
}

void LogWriter::join(const LogTail& at) {
    CHECK(records_.empty() && at.ring_offset <= ring_size_);
    head_ = at.ring_offset;
    logged_sequence_ = at.sequence - 1;
    next_sequence_ = at.sequence;
    chain_hash_ = at.previous_hash;
}

}  // namespace gemel::blockdev
