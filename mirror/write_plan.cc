// SPDX-License-Identifier: Apache-2.0
#include "mirror/write_plan.h"

#include <algorithm>

namespace gemel::mirror {

using blockdev::kBlockSize;

WritePlan plan_write(uint64_t offset, uint64_t length, uint64_t log_limit) {
    WritePlan plan;
    plan.atomic = length <= log_limit;
    const uint64_t end = offset + length;
    const uint64_t within = offset % kBlockSize;
    if (within != 0 || length < kBlockSize) {
        plan.head_block = offset / kBlockSize;
        plan.head_offset = within;
        plan.head_bytes = std::min(length, kBlockSize - within);
    }
    const uint64_t middle = offset + plan.head_bytes;
    if (middle == end) return plan;
    plan.middle_first = middle / kBlockSize;
    plan.middle_blocks = (end - middle) / kBlockSize;
    plan.tail_bytes = end % kBlockSize;
    plan.tail_block = end / kBlockSize;
    return plan;
}

}  // namespace gemel::mirror
