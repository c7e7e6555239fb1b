// SPDX-License-Identifier: Apache-2.0
//
// NAME.toml, the volume file: which members a volume has and where they lie. It is written by
// create and assemble, may be edited by hand, and decides nothing: the members' superblocks do.
//
//     schema = 1
//     name = "vol"
//     uuid = "8c0b6e0e-3f0c-4b53-9a4c-0f7f6a0f7b11"
//     size = "1G"                       # or a number of bytes
//     witness = "vol.witness"           # paths: absolute, or relative to this file
//
//     [[member]]
//     path = "a.img"
//     uuid = "..."
#pragma once

#include <string>
#include <string_view>

#include "blockdev/disk_format.h"
#include "blockdev/result.h"
#include "mirror/volume_description.h"

namespace gemel::tools {

inline constexpr size_t kVolumeFileSizeMax = 64u << 10;
inline constexpr size_t kVolumeFileMembersMax = blockdev::kMaximumMembers;

// `text` as the content of the file at `path` (absolute). The problem names file and line and says
// how to mend it. Unknown keys are refused: a misspelt one must not be passed over.
Outcome<mirror::VolumeDescription> parse_volume_file(std::string_view text,
                                                     const std::string& path);

// The other direction. Paths below the file's own folder are written relative to it, so that the
// folder can be moved as a whole.
std::string render_volume_file(const mirror::VolumeDescription& description,
                               const std::string& path);

// Whether a volume file at `path` can hold this: not so a path that is not UTF-8, for one.
Outcome<void> check_volume_description(const mirror::VolumeDescription& description,
                                       const std::string& path);

Outcome<mirror::VolumeDescription> read_volume_file(const std::string& path);

// Whether the file is meant as a volume file, however broken: other programs use *.toml too.
bool looks_like_volume_file(const std::string& path);

// Durable and atomic. Unless `replace`, an existing file is left alone and Errc::exists returned.
Outcome<void> write_volume_file(const std::string& path,
                                const mirror::VolumeDescription& description, bool replace);

}  // namespace gemel::tools
