// SPDX-License-Identifier: Apache-2.0
//
// The two superblocks of a member: checking, choosing, writing.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "blockdev/disk.h"
#include "blockdev/disk_format.h"
#include "blockdev/layout.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

// Checks the bytes found at `offset`. Returns the first broken rule, or null.
const char* superblock_fault(const Superblock& superblock, uint64_t offset);
// A sane configuration: counts in range, members distinct, an epoch.
const char* configuration_fault(const ConfigurationRecord& configuration);

bool is_superblock_of_newer_format(const Superblock& superblock);
// True if the bytes begin with our magic number, whatever else is wrong.
bool has_superblock_magic(const Superblock& superblock);

// Whether the member is between two states: then nothing it says of itself counts beyond the base.
inline bool is_running(const ResyncRecord& resync) {
    return resync.state != static_cast<uint32_t>(ResyncState::none);
}

// Whether either would do without the other: they differ in what tells the copies apart only.
bool are_alike(const Superblock& a, const Superblock& b);

// What reading both copies gave.
struct SuperblockReading {
    std::unique_ptr<Superblock> superblock;  // The newest valid copy.
    const char* fault_a = nullptr;           // What is wrong with each, null if nothing.
    const char* fault_b = nullptr;
    bool alike = false;     // Both are valid, and either would do.
    bool lost_one = false;  // Both are valid, but one is older than any crash can leave it.
};

// Reads both copies and takes the newest valid one. Where copy A is damaged the owner record tells
// where B lies, or else the caller (0: does not know): it is the same place on every member of a
// volume. A Problem names the path and what is wrong: foreign, newer format, both damaged.
Task<Outcome<SuperblockReading>> read_superblocks(Disk& disk, uint64_t offset_b = 0);

// Keeps the current superblock of an open member and writes it.
class SuperblockStore {
public:
    SuperblockStore(Disk& disk, std::unique_ptr<Superblock> current);

    // As it is on disk, durable.
    const Superblock& current() const { return *current_; }
    // Change the fields here, then write; checksum, offset and generation are set by the writers.
    // Becomes current() once it is durable; after a failure the write may be repeated.
    Superblock& editable() { return *next_; }

    // Writes the copy that is not the newest and flushes it.
    Task<Status> write_one();
    // Writes both, one after the other, each flushed. Until then what the older one names must not
    // be overwritten, since it may become the only one.
    Task<Status> write_both();

private:
    uint64_t offset_of_next() const;

    Disk& disk_;
    std::unique_ptr<Superblock> current_;
    std::unique_ptr<Superblock> next_;
};

// Sets the checksum for a copy at `offset`.
void seal_superblock(Superblock& superblock, uint64_t offset);

std::string volume_name(const Superblock& superblock);
// Where everything lies on the member of this (valid) superblock.
Layout layout_of(const Superblock& superblock);
std::unique_ptr<Superblock> make_superblock_buffer();

}  // namespace gemel::blockdev
