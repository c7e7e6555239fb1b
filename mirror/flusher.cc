// SPDX-License-Identifier: Apache-2.0
#include "mirror/flusher.h"

#include "blockdev/assert.h"

namespace gemel::mirror {

Flusher::Flusher(Env& env, std::vector<blockdev::Member*> members, Sequencer& sequencer,
                 FailureSink on_failure)
    : env_(env),
      members_(std::move(members)),
      sequencer_(sequencer),
      on_failure_(std::move(on_failure)),
      stable_point_(sequencer.commit_point()),
      finished_(env) {}

Task<Status> Flusher::flush_to(uint64_t sequence) {
    CHECK(sequence <= sequencer_.commit_point());
    while (stable_point_ < sequence) {
        if (failed_) co_return Error{Errc::io, 0, "flush"};
        if (running_) {
            co_await finished_.wait();
            continue;
        }
        running_ = true;
        // Committed means logged everywhere: complete before the flushes are submitted.
        const uint64_t target = sequencer_.commit_point();
        Scope scope(env_);
        for (size_t i = 0; i < members_.size(); ++i) scope.start(flush_member(i));
        co_await scope.join();
        running_ = false;
        if (!failed_) {
            CHECK(target >= stable_point_);
            stable_point_ = target;
            sequencer_.set_stable_point(target);
        }
        finished_.notify_all();
    }
    co_return Status::success();
}

Task<void> Flusher::flush_member(size_t index) {
    const Status status = co_await members_[index]->flush();
    if (status.ok()) co_return;
    failed_ = true;
    on_failure_({index, "flush", status.error()});
}

}  // namespace gemel::mirror
