// SPDX-License-Identifier: Apache-2.0
#include "mirror/background_pace.h"

#include <algorithm>

namespace gemel::mirror {

// When clients come back nothing is known of how much they bear.
void BackgroundPace::note_presence(uint64_t now_ns) {
    // Of requests that came while nobody looked it is known only when some of them ended.
    const bool looks_often = now_ns - looked_ns_ < kQuiet_ns;
    if (requests_ != requests_seen_ && looks_often) seen_ns_ = now_ns;
    requests_seen_ = requests_;
    looked_ns_ = now_ns;
    const bool there = seen_ns_ != 0 && now_ns - seen_ns_ < kQuiet_ns;
    if (there && !there_) {
        controller_.restart(now_ns);
        next_look_ns_ = now_ns + kLookEvery_ns;
    }
    there_ = there;
}

bool BackgroundPace::clients_are_there() {
    note_presence(env_.now_ns());
    return there_;
}

PaceStep BackgroundPace::step() {
    return PaceController::step_at(clients_are_there() ? controller_.step()
                                                       : PaceController::kSteps - 1);
}

uint64_t BackgroundPace::rest_ns(uint64_t work_ns) {
    const uint64_t now = env_.now_ns();
    const PaceStep step = this->step();
    if (!there_) return 0;
    if (step.rests != 0) return std::min(work_ns * step.rests, kRestMax_ns);
    if (now >= next_look_ns_) {
        look_until_ns_ = now + kLook_ns;
        next_look_ns_ = look_until_ns_ + kLookEvery_ns;
    }
    return look_until_ns_ - std::min(look_until_ns_, now);
}

void BackgroundPace::end_request(uint64_t began_ns, bool calm) {
    const uint64_t now = env_.now_ns();
    seen_ns_ = now;
    if (pieces_in_flight_ == 0 && now - last_piece_ns_ > kOver_ns) under_way_ = false;
    controller_.note(now - began_ns, calm, is_running(), now);
}

}  // namespace gemel::mirror
