// SPDX-License-Identifier: Apache-2.0
//
// A recording: what a member held at some time, in a sparse file of its own, so that damage can put
// back an older version of a block.
#pragma once

#include <memory>
#include <string>

#include "blockdev/disk.h"
#include "blockdev/disk_format.h"
#include "blockdev/env.h"
#include "blockdev/superblock.h"

namespace gemel::blockdev {

inline constexpr uint64_t kRecordingMagic = 0x3130434552454d47ull;  // "GMEREC01"
inline constexpr uint32_t kRecordingVersion = 1;

// The file begins with it; the member's bytes follow, all zeros left out where the file has holes.
struct RecordingHeader {
    le64 checksum;  // XXH3-64 of everything after it.
    le64 magic;
    le32 version;
    le32 is_complete;  // 0 while the content is being written.
    Uuid member;
    Uuid volume;
    le64 length;      // Of the content.
    le64 recorded_s;  // Seconds since 1970, for people.
    uint8_t reserved[4024];
};
static_assert(sizeof(RecordingHeader) == kBlockSize);
static_assert(offsetof(RecordingHeader, member) == 24);
static_assert(offsetof(RecordingHeader, length) == 56);

// Returns the first broken rule, or null. One that is not complete is sound, too.
const char* recording_fault(const RecordingHeader& header);

// A recording to read from.
class Recording {
public:
    // Refuses what is not a complete recording of `member`.
    static Task<Outcome<std::unique_ptr<Recording>>> open(Env& env, std::string path, Uuid member);

    // What the member held at `offset` then, in multiples of the block; zeros beyond its end.
    Task<Status> read(uint64_t offset, std::span<std::byte> out);

private:
    Recording(std::unique_ptr<Disk> disk, uint64_t length)
        : disk_(std::move(disk)), length_(length) {}

    std::unique_ptr<Disk> disk_;
    uint64_t length_;
};

struct RecordingSummary {
    Uuid member;
    Uuid volume;
    uint64_t length = 0;         // Of what was recorded, holes included.
    uint64_t bytes_written = 0;  // Into the file.
};

// Records the present content of the member at `member_path` into the file at `path`: a new one, an
// empty one, or an earlier recording of the same member. Anything else is refused and left alone. A
// member in use is recorded block by block, while it changes. After a failure the file is not a
// complete recording; if it was new it is removed.
Task<Outcome<RecordingSummary>> record_member(Env& env, std::string member_path, std::string path);

}  // namespace gemel::blockdev
