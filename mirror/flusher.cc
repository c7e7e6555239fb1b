// SPDX-License-Identifier: Apache-2.0
#include "mirror/flusher.h"

#include "blockdev/assert.h"

namespace gemel::mirror {

Flusher::Flusher(Env& env, MemberSet& members, Sequencer& sequencer, FailureSink on_failure)
    : env_(env),
      members_(members),
      sequencer_(sequencer),
      on_failure_(std::move(on_failure)),
      stable_point_(sequencer.commit_point()),
      finished_(env),
      flushes_(env) {}

Task<Status> Flusher::flush_to(uint64_t sequence) {
    CHECK(sequence <= sequencer_.commit_point());
    while (stable_point_ < sequence) {
        if (stopped_) co_return Error{Errc::io, 0, "flush"};
        if (running_) {
            co_await finished_.wait();
            continue;
        }
        running_ = true;
        // Committed means logged everywhere: complete before the flushes are submitted.
        const uint64_t target = sequencer_.commit_point();
        asked_ = 0;
        flushed_ = 0;
        ++round_;
        for (size_t i = 0; i < members_.size(); ++i) {
            if (!members_.counts(i)) continue;
            asked_ |= 1u << i;
            if (members_.flows(i)) flushes_.start(flush_member(i, round_));
        }
        while (!stopped_ && !is_stable_on_all()) co_await members_.changed().wait();
        running_ = false;
        if (!stopped_) {
            CHECK(target >= stable_point_);
            stable_point_ = target;
            sequencer_.set_stable_point(target);
        }
        finished_.notify_all();
    }
    co_return Status::success();
}

// A member that begins to count meanwhile is flushed by whoever lets it in.
bool Flusher::is_stable_on_all() const {
    for (size_t i = 0; i < members_.size(); ++i) {
        const bool lacks_it = (asked_ & ~flushed_) >> i & 1;
        if (lacks_it && members_.counts(i)) return false;
    }
    return true;
}

Task<void> Flusher::flush_member(size_t index, uint64_t round) {
    const uint64_t began = env_.now_ns();
    const Status status = co_await members_.member(index).flush();
    if (!status.ok()) {
        on_failure_({index, "flush", status.error()});
        co_return;
    }
    if (on_flushed_) on_flushed_(index, env_.now_ns() - began);
    if (round != round_) co_return;
    flushed_ |= 1u << index;
    if (is_stable_on_all()) members_.changed().notify_all();
}

void Flusher::stop() {
    stopped_ = true;
    members_.changed().notify_all();
    finished_.notify_all();
}

}  // namespace gemel::mirror
