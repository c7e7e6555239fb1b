// SPDX-License-Identifier: Apache-2.0
//
// What a member went through, in the words that status and inspect share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mirror/block_set.h"

namespace gemel::tools {

// "2026-11-25 03:05:01 UTC".
std::string utc_text(uint64_t seconds_since_1970);
// "bit_rot 3, torn 2, 3 tables, 1 in the log"; "nothing" if nothing was healed. The counts are in
// the order of mirror::kDamageCauseNames.
std::string healed_text(std::span<const uint64_t> by_cause, uint64_t tables, uint64_t in_log);
// "2026-11-25 03:05:01 UTC, healed block=7 cause=torn"; "-" if there was none.
std::string event_text(const std::string& event, uint64_t seconds_since_1970);
// "2 blocks of which no member has a good copy: 11+2; they give I/O errors until ...".
std::string lost_text(uint64_t blocks, const std::vector<mirror::BlockRange>& ranges);
// "2 complete, the last ended 2026-11-25 03:05:01 UTC", "none yet".
std::string passes_text(uint64_t passes, uint64_t finished_s);

}  // namespace gemel::tools
