// SPDX-License-Identifier: Apache-2.0
//
// Making a new volume, and finding a lost one's description again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "mirror/volume_description.h"

namespace gemel::mirror {

inline constexpr uint64_t kDefaultLogSize = 256ull << 20;
inline constexpr uint64_t kDefaultLogLimit = 64ull << 10;

struct CreateOptions {
    std::string name;
    uint64_t size = 0;                     // Bytes, a multiple of 4096, not 0.
    std::vector<std::string> members;      // Absolute paths, 2 or more, all different.
    std::vector<std::string> spares = {};  // The same; at most 16 with the members.
    std::string witness_path;              // Absolute.
    uint64_t log_size = kDefaultLogSize;
    uint64_t log_limit = kDefaultLogLimit;  // Writes up to this are atomic.
    uint64_t max_size = 0;                  // 0: four times `size`, or what fits a block device.
    bool preallocate = false;
    bool force = false;  // Overwrite what is there.
};

// Formats every member, writes the witness, and returns the description to be kept as NAME.toml.
// On failure nothing that existed before has been changed (unless forced) and no new file is left.
Task<Outcome<VolumeDescription>> create_volume(Env& env, CreateOptions options);

// Reads the members' superblocks and returns the description of the volume they belong to, with
// these members. They must be enough to start it; those that are not among them are named in the
// log. Changes nothing except re-creating a lost witness at `witness_path`.
Task<Outcome<VolumeDescription>> assemble_volume(Env& env, std::vector<std::string> paths,
                                                 std::string witness_path);

}  // namespace gemel::mirror
