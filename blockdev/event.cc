// SPDX-License-Identifier: Apache-2.0
#include "blockdev/event.h"

namespace gemel {

void Event::Waiter::await_suspend(std::coroutine_handle<> handle) {
    wake_.resumes(handle);
    previous_ = event_.last_;
    (previous_ != nullptr ? previous_->next_ : event_.first_) = this;
    event_.last_ = this;
    if (deadline_ns_ == UINT64_MAX) return;
    timer_.continuation.context = this;
    timer_.continuation.run = on_deadline;
    event_.loop_.arm(timer_, deadline_ns_);
}

void Event::Waiter::on_deadline(void* waiter) {
    auto& self = *static_cast<Waiter*>(waiter);
    // A notification that came in the same turn has posted wake_ already, and wins.
    if (self.notified_) return;
    self.event_.remove(self);
    self.wake_.run(self.wake_.context);
}

void Event::notify_all() {
    Waiter* waiter = first_;
    first_ = last_ = nullptr;
    while (waiter != nullptr) {
        Waiter* next = waiter->next_;
        waiter->notified_ = true;
        loop_.disarm(waiter->timer_);
        loop_.post(waiter->wake_);
        waiter = next;
    }
}

void Event::remove(Waiter& waiter) {
    (waiter.previous_ != nullptr ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ != nullptr ? waiter.next_->previous_ : last_) = waiter.previous_;
}

}  // namespace gemel
