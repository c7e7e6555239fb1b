// SPDX-License-Identifier: Apache-2.0
//
// One owner per member. The lock belongs to the open file description that does the I/O, so it is
// free only after the last request of a killed owner has landed; who waits for it never sees a late
// write. An owner record on the member tells a dying owner, which is waited for, from a live one.
#pragma once

#include <memory>

#include "blockdev/disk.h"
#include "blockdev/disk_format.h"
#include "blockdev/env.h"
#include "blockdev/task.h"

namespace gemel::blockdev {

inline constexpr uint64_t kLockPatience_ns = 10 * kSecond;      // For a dead owner's requests.
inline constexpr uint64_t kLiveOwnerPatience_ns = 1 * kSecond;  // It may be about to exit.

// Takes the lock, or says who has it: Errc::busy if that may be a live process, Errc::timed_out if
// the owner is known to be dead.
Task<Outcome<bool>> lock_member(Env& env, Disk& disk);

// Once locked: writes down who we are, or (`open` false) that nobody is.
Task<Status> write_owner(Env& env, Disk& disk, const Superblock& superblock, bool open);

// The owner record found on `disk`, or null if it does not prove itself.
Task<std::unique_ptr<OwnerRecord>> read_owner(Disk& disk);

// Whether the record is what write_owner() wrote last for this process, with `open`.
bool is_own_record(const Env& env, const OwnerRecord& record, const Superblock& superblock);

}  // namespace gemel::blockdev
