// SPDX-License-Identifier: Apache-2.0
//
// Opening a volume: locks, superblocks, start rules, settlement, a new epoch. The design's
// section 7.
#pragma once

#include <memory>
#include <string>

#include "blockdev/env.h"
#include "mirror/limits.h"
#include "mirror/volume.h"
#include "mirror/volume_description.h"

namespace gemel::mirror {

struct OpenOptions {
    uint64_t cache_bytes = kDefaultCache;  // Checksum pages kept in memory, all members together.
    Scrub::Options scrub = {};
    WatchLimits limits = {};
    bool read_only = false;  // Clients may not write; settlement still happens.
    // Without proof that they are the newest, start from the newest members that are there, and
    // give up what only others may have. Says so, loudly.
    bool force = false;
    // Called when the members or the size of the volume change. Empty: nobody needs to know.
    DescriptionKeeper keep = {};
};

// What a volume is made of, each member in its state; those that are there are locked, and claimed
// unless they are offline. Nothing is served before the new epoch is stable on every member that is
// in sync in it, and at the witness. On failure every member is as it was found, or further along
// in a settlement that the next open continues.
Task<Outcome<VolumeParts>> open_parts(Env& env, VolumeDescription description, OpenOptions options);

Task<Outcome<std::unique_ptr<Volume>>> open_volume(Env& env, VolumeDescription description,
                                                   OpenOptions options);

}  // namespace gemel::mirror
