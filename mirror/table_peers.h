// SPDX-License-Identifier: Apache-2.0
//
// Where a member whose checksum table is damaged gets the checksums from: the other members'
// tables; where all of them are damaged, too, the members' data, as far as they agree.
#pragma once

#include <span>

#include "blockdev/member.h"
#include "ecc/checksum.h"

namespace gemel::mirror {

// The members must outlive the task. Repairs the table of `page` on members[index], durably.
// Blocks whose checksum cannot be found out get one that no content has: they are known as
// unrecoverable then, and no guess is ever returned.
Task<Status> repair_table(std::span<blockdev::Member* const> members, size_t index, uint64_t page);
// The same for a page whose checksums prove themselves, but are older than the others'.
Task<Status> rebuild_table(std::span<blockdev::Member* const> members, size_t index, uint64_t page);

}  // namespace gemel::mirror
