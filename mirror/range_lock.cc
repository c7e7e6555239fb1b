// SPDX-License-Identifier: Apache-2.0
#include "mirror/range_lock.h"

namespace gemel::mirror {

RangeLock::Hold::Hold(RangeLock& lock, uint64_t first_block, uint64_t end_block, Mode mode)
    : lock_(lock), first_block_(first_block), end_block_(end_block), mode_(mode) {
    previous_ = lock.last_;
    (previous_ != nullptr ? previous_->next_ : lock.first_) = this;
    lock.last_ = this;
    granted_ = lock.may_go(*this);
    lock.waiting_ += granted_ ? 0 : 1;
}

RangeLock::Hold::~Hold() {
    CHECK(granted_);
    (previous_ != nullptr ? previous_->next_ : lock_.first_) = next_;
    (next_ != nullptr ? next_->previous_ : lock_.last_) = previous_;
    if (lock_.waiting_ != 0) lock_.wake_waiters(next_);
}

bool RangeLock::may_go(const Hold& hold) const {
    for (const Hold* earlier = hold.previous_; earlier != nullptr; earlier = earlier->previous_) {
        if (hold.conflicts_with(*earlier)) return false;
    }
    return true;
}

// Only those who came after the one that left can have been waiting for it.
void RangeLock::wake_waiters(const Hold* from) {
    for (auto* hold = const_cast<Hold*>(from); hold != nullptr; hold = hold->next_) {
        if (hold->granted_ || !may_go(*hold)) continue;
        hold->granted_ = true;
        --waiting_;
        loop_.post(hold->wake_);
    }
}

}  // namespace gemel::mirror
