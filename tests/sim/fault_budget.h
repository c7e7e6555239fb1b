// SPDX-License-Identifier: Apache-2.0
//
// FaultBudget: which copies may be damaged at the same time. Whatever happens, one good copy of
// everything is left: of each block of data, of the checksums of each page with the index above
// them, of the log. What has been damaged counts as damaged until all of it is known to be healed,
// also where a write has replaced it long since.
//
// The superblocks of a member are copies of each other, and of nothing else: see saboteur.h.
#pragma once

#include <cstdint>
#include <map>

#include "blockdev/layout.h"

namespace gemel::sim {

class FaultBudget {
public:
    FaultBudget(size_t members, const blockdev::Layout& layout);

    // Each is false, and nothing is spent, if then no good copy would be left.
    bool spend_data(size_t member, uint64_t first_block, uint64_t count);
    bool spend_page(size_t member, uint64_t page);  // Its checksums.
    bool spend_index(size_t member);
    bool spend_log(size_t member);

    // Members that may lack anything, one bit each: none of their copies counts. One that returns
    // has its log from there on only: until the next settlement the logs are no copies of one
    // another, and a member whose log is damaged may lack anything, too.
    void set_out(uint32_t members) {
        out_ = members;
        logs_differ_ = logs_differ_ || members != 0;
    }
    // Whether good copies of everything would be left without this one, too.
    bool may_go_out(size_t member) const;

    bool is_data_damaged(size_t member, uint64_t block) const;
    // One bit per member.
    uint32_t damaged_logs() const { return logs_; }
    bool all_whole() const { return data_.empty() && pages_.empty() && index_ == 0 && logs_ == 0; }

    // The logs have been settled, and are of no use any more.
    void log_is_settled() {
        logs_ = 0;
        without_log_ = 0;
        logs_differ_ = out_ != 0;
    }
    // But a place that cannot be read stays so until it is written to.
    void log_stays_damaged(size_t member) { logs_ |= 1u << member; }
    // Everything was found and healed.
    void healed();

private:
    bool is_left(uint32_t damaged) const {
        return (~(damaged | out_ | without_log_) & everybody_) != 0;
    }

    uint32_t everybody_;
    uint64_t pages_in_volume_;
    std::map<uint64_t, uint32_t> data_;   // Block to members.
    std::map<uint64_t, uint32_t> pages_;  // Page of checksums to members.
    uint32_t index_ = 0;
    uint32_t logs_ = 0;
    uint32_t out_ = 0;
    uint32_t without_log_ = 0;  // And nobody else has the same log.
    bool logs_differ_ = false;
};

}  // namespace gemel::sim
