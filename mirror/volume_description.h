// SPDX-License-Identifier: Apache-2.0
//
// What must be known to open a volume; NAME.toml holds it. The members' superblocks win over it:
// it only says where to look.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace gemel::mirror
