// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/fault_budget.h"

namespace gemel::sim {

FaultBudget::FaultBudget(size_t members, const blockdev::Layout& layout)
    : everybody_((1u << members) - 1), pages_in_volume_(layout.volume_pages()) {}

bool FaultBudget::spend_data(size_t member, uint64_t first_block, uint64_t count) {
    const uint32_t bit = 1u << member;
    for (uint64_t block = first_block; block < first_block + count; ++block) {
        const auto found = data_.find(block);
        const uint32_t before = found == data_.end() ? 0 : found->second;
        if (!is_left(before | bit)) return false;
    }
    for (uint64_t block = first_block; block < first_block + count; ++block) data_[block] |= bit;
    return true;
}

bool FaultBudget::spend_page(size_t member, uint64_t page) {
    if (page >= pages_in_volume_) return true;  // Room to grow: nothing is there.
    const uint32_t bit = 1u << member;
    const auto found = pages_.find(page);
    const uint32_t before = found == pages_.end() ? 0 : found->second;
    if (!is_left(before | bit | index_)) return false;
    pages_[page] |= bit;
    return true;
}

bool FaultBudget::spend_index(size_t member) {
    const uint32_t after = index_ | 1u << member;
    if (!is_left(after)) return false;
    for (const auto& [page, damaged] : pages_) {
        if (!is_left(damaged | after)) return false;
    }
    index_ = after;
    return true;
}

bool FaultBudget::spend_log(size_t member) {
    const uint32_t after = logs_ | 1u << member;
    if (!is_left(after) || (logs_differ_ && !may_go_out(member))) return false;
    logs_ = after;
    if (logs_differ_) without_log_ |= 1u << member;
    return true;
}

bool FaultBudget::may_go_out(size_t member) const {
    const uint32_t bit = 1u << member;
    if (!is_left(index_ | bit) || !is_left(logs_ | bit)) return false;
    for (const auto& [block, damaged] : data_) {
        if (!is_left(damaged | bit)) return false;
    }
    for (const auto& [page, damaged] : pages_) {
        if (!is_left(damaged | index_ | bit)) return false;
    }
    return true;
}

bool FaultBudget::is_data_damaged(size_t member, uint64_t block) const {
    const auto found = data_.find(block);
    return found != data_.end() && (found->second >> member & 1) != 0;
}

void FaultBudget::healed() {
    data_.clear();
    pages_.clear();
    index_ = 0;
    logs_ = 0;
    without_log_ = 0;
}

}  // namespace gemel::sim
