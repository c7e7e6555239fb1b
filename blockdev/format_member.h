// SPDX-License-Identifier: Apache-2.0
//
// Making a file or block device a member of a new volume, in two steps, so that several members are
// all found fit before any of them is changed for good.
#pragma once

#include <memory>
#include <string>

#include "blockdev/disk_format.h"
#include "blockdev/env.h"
#include "blockdev/layout.h"

namespace gemel::blockdev {

struct NewMember {
    std::string path;
    bool force = false;  // Overwrite what is there.
    // Set by open_new_member().
    bool existed = false;
    bool was_blank = false;
    uint64_t size_before = 0;
    std::unique_ptr<Disk> disk;
};

// Opens (or creates) and locks the file; refuses one that is not blank without `force`. On failure
// a file that did not exist before is gone again.
Task<Outcome<NewMember>> open_new_member(Env& env, std::string path, bool force);

// What a block device of `device_size` bytes can hold at most, given the tables for `maximum_size`.
uint64_t largest_volume(uint64_t device_size, uint64_t maximum_size, uint64_t log_size);

// Writes the empty log ring and clears what must read as zero. The old content is lost from here
// on. Ends early with Errc::closed once `*cancelled`.
Task<Status> prepare_member(Env& env, Disk& disk, const Layout& layout, bool force,
                            const bool* cancelled = nullptr);

struct MemberIdentity {
    Uuid member;
    Uuid volume;
    std::string name;
    ecc::VolumeSecret secret;
    uint64_t created_s = 0;
};
// Takes back what a creation that failed has done: a file that it made is removed, a blank one that
// was there is as it was. Closes the member. Devices keep what was written to them.
Status abandon_member(Env& env, NewMember& member);

// Writes owner record and superblocks, and makes all of it durable: the member exists. If the
// configuration does not have it in sync it says so of itself: it holds nothing, and is to be
// brought up to date.
Task<Status> finish_member(Env& env, Disk& disk, const Layout& layout,
                           const MemberIdentity& identity,
                           const ConfigurationRecord& configuration);

}  // namespace gemel::blockdev
