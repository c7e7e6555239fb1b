// SPDX-License-Identifier: Apache-2.0
//
// What an operator can read from a member: superblocks, log, page index. Changes nothing and takes
// no lock, so it also works on a member in use; what it says of the log is then a moment's view.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "blockdev/disk_format.h"
#include "blockdev/env.h"
#include "blockdev/health_record.h"
#include "blockdev/layout.h"

namespace gemel::blockdev {

struct MemberInspection {
    std::string path;
    uint64_t size = 0;  // Of the file or device.
    bool is_block_device = false;
    std::unique_ptr<Superblock> superblock;
    const char* superblock_a_fault = nullptr;  // Null: it is good.
    const char* superblock_b_fault = nullptr;
    Layout layout;
    uint64_t owner_pid = 0;  // 0: closed in order.
    bool owner_is_alive = false;

    // The log, from the tail on.
    uint64_t log_batches = 0;
    uint64_t log_writes = 0;
    uint64_t log_payload_blocks = 0;
    uint64_t log_bytes = 0;
    uint64_t log_last_sequence = 0;  // The tail's minus one if the log is empty.
    uint64_t log_stable_point = 0;   // As the newest batch knows it.

    // The page index, over the volume's present size.
    uint64_t pages_never_written = 0;
    uint64_t pages_zero = 0;
    uint64_t pages_data = 0;
    uint64_t pages_unreadable = 0;  // Their index is damaged.

    // As last saved: a server writes it about a second after something happened.
    MemberHealth health;

    // Whether home, as a plain image at layout.home_offset, holds the volume's whole content.
    bool home_is_complete = false;
};

Task<Outcome<MemberInspection>> inspect_member(Env& env, std::string path);

// The log alone: the last write of the chain in it, the tail's minus one if there is none.
Task<Result<uint64_t>> last_logged(Disk& disk, const Superblock& superblock);

}  // namespace gemel::blockdev
