// SPDX-License-Identifier: Apache-2.0
//
// What must be known to open a volume; NAME.toml holds it. The members' superblocks win over it:
// it only says where to look.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blockdev/result.h"
#include "blockdev/uuid.h"

namespace gemel::mirror {

struct MemberDescription {
    std::string path;  // Absolute.
    Uuid uuid;
};

struct VolumeDescription {
    std::string name;  // 1 to 63 of [A-Za-z0-9._-], not starting with '.' or '-'.
    Uuid uuid;
    uint64_t size = 0;  // Bytes; for people to read, the superblocks decide.
    std::vector<MemberDescription> members;
    std::string witness_path;  // Absolute.
};

// Keeps the description where the next start finds it, in place of the one before: atomic, and
// durable once it succeeds.
using DescriptionKeeper = std::function<Outcome<void>(const VolumeDescription&)>;

}  // namespace gemel::mirror
