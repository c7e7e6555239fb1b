// SPDX-License-Identifier: Apache-2.0
//
// TableRepair: makes the damaged checksum table of one page whole again, from what is left of it on
// this member and from what the others know.
//
// A structure whose right bytes can be found (their checksum is the one by which it is named) is
// rewritten in place. Nothing else that is left of it here is trusted, however whole it looks: it
// may be the version before, and with it an older block would pass for good. So otherwise it is
// written anew, with the newest checksums of the volume: a block that is not home yet here has the
// wrong one for a while, but its newer version is in the log and hides it, also after a crash,
// until the checkpoint brings both home.
//
// An index page of level 1 describes itself, so level 2 is found by looking at what lies below it.
// A checksum page does not: one of this member's is taken for right if it holds the newest
// checksums, and one that lies on another member if it is what this member's index names.
#pragma once

#include "blockdev/checksum_table.h"
#include "blockdev/disk.h"
#include "blockdev/layout.h"
#include "blockdev/table_source.h"

namespace gemel::blockdev {

class TableRepair {
public:
    TableRepair(Disk& disk, const Layout& layout, ChecksumTable& table, TableSource& source);

    // On success the table of `page` can be read. What was changed may still have to be written:
    // ChecksumTable::has_changes(). Nobody else changes the table meanwhile.
    Task<Status> run(uint64_t page, bool rebuild);
    // Structures that were damaged and are right again.
    uint64_t repaired() const { return repaired_; }

private:
    // Of one index page of level 1, the newer one first.
    struct Slots {
        IndexEntry names[kSlots];  // Zero: there is none.
    };

    Task<Status> rebuild_level2(uint64_t number);
    Task<Slots> find_level1(uint64_t number, uint64_t newest);
    Task<Status> rebuild_level1(uint64_t number);
    Task<Status> name_pages(uint64_t number, PageVersion version, IndexPage& index);
    Task<PageName> find_page(uint64_t page, const PageValues& wanted);
    Task<Status> rebuild_page(uint64_t page);
    Task<Result<bool>> restore_from_candidates(uint64_t page);
    Task<Status> take_current(uint64_t page);

    Disk& disk_;
    const Layout& layout_;
    ChecksumTable& table_;
    TableSource& source_;
    uint64_t repaired_ = 0;
};

}  // namespace gemel::blockdev
