// SPDX-License-Identifier: Apache-2.0
#include "blockdev/loop.h"

namespace gemel {

void Loop::arm(Timer& timer, uint64_t deadline_ns) {
    CHECK(!timer.armed_);
    timer.place_ = timers_.emplace(deadline_ns, &timer);
    timer.armed_ = true;
}

void Loop::disarm(Timer& timer) {
    if (!timer.armed_) return;
    timers_.erase(timer.place_);
    timer.armed_ = false;
}

void Loop::run_ready() {
    while (true) {
        if (Continuation* first = ready_head_; first != nullptr) {
            ready_head_ = first->next;
            if (ready_head_ == nullptr) ready_tail_ = &ready_head_;
            first->run(first->context);
        } else if (Continuation* hook = hooks_head_; hook != nullptr) {
            hooks_head_ = hook->next;
            if (hooks_head_ == nullptr) hooks_tail_ = &hooks_head_;
            hook->run(hook->context);
        } else {
            return;
        }
    }
}

void Loop::expire_timers(uint64_t now) {
    while (!timers_.empty() && timers_.begin()->first <= now) {
        Timer& timer = *timers_.begin()->second;
        disarm(timer);
        post(timer.continuation);
    }
}

uint64_t Loop::next_deadline_ns() const {
    return timers_.empty() ? UINT64_MAX : timers_.begin()->first;
}

}  // namespace gemel
