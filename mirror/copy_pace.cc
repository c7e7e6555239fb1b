// SPDX-License-Identifier: Apache-2.0
#include "mirror/copy_pace.h"

#include <algorithm>

namespace gemel::mirror {

bool CopyPace::clients_are_there() {
    if (requests_ != requests_seen_) {
        requests_seen_ = requests_;
        seen_ns_ = env_.now_ns();
        ever_seen_ = true;
    }
    return ever_seen_ && env_.now_ns() - seen_ns_ < kQuiet_ns;
}

uint64_t CopyPace::rest_ns(uint64_t work_ns) {
    if (!clients_are_there()) return 0;
    return std::min(work_ns * kClientShare, kRestMax_ns);
}

}  // namespace gemel::mirror
