// SPDX-License-Identifier: Apache-2.0
//
// What a member whose checksum table is damaged asks the others.
#pragma once

#include <cstdint>

#include "blockdev/disk_format.h"
#include "blockdev/result.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

// The checksums of one page of 512 blocks, and how new they are.
struct PageValues {
    PageState state = PageState::never_written;
    uint64_t sequence = 0;
    ChecksumPage values{};  // All 0 unless the state is data.
};

// Which version of a page is meant.
enum class PageVersion : uint8_t {
    home,     // As it is in the checksum table: of blocks that are stable at home.
    current,  // With what is in the log: the newest of every block.
    agreed,   // The same; where no table is left that knows it, what the members' data agree on.
};

class TableSource {
public:
    virtual ~TableSource() = default;
    // Fails if no one knows it.
    virtual Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) = 0;
    // What lies where the others keep the page, each thing that is there, whatever it is worth:
    // false when there is no more. It may be what a damaged copy was.
    virtual Task<Result<bool>> candidate(uint64_t page, size_t number, ChecksumPage& out) = 0;
};

// The uppermost structure on the way to a page's checksums that is not what it should be.
enum class TableFault : uint8_t { none, level2, level1, page };

}  // namespace gemel::blockdev
