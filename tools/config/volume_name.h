// SPDX-License-Identifier: Apache-2.0
//
// Names of volumes, and where a volume's files lie: the volume file, and beside it the sockets of
// its server and, by default, its witness.
#pragma once

#include <string>
#include <string_view>

#include "blockdev/result.h"

namespace gemel::tools {

inline constexpr size_t kVolumeNameLengthMax = 63;
// sun_path has 108 bytes, one of them for the end.
inline constexpr size_t kSocketPathLengthMax = 107;

// 1 to 63 of [A-Za-z0-9._-], not starting with '.' or '-'.
Outcome<void> check_volume_name(std::string_view name);

struct VolumePaths {
    std::string file;            // NAME.toml
    std::string witness;         // NAME.witness
    std::string nbd_socket;      // NAME.nbd.sock
    std::string control_socket;  // NAME.ctl.sock
};

// All absolute. `folder` is the one the volume file lies in.
VolumePaths volume_paths(const std::string& folder, const std::string& name);

// The sockets' paths must fit the kernel's limit.
Outcome<void> check_socket_path(const std::string& path);

// From what the operator wrote in place of a volume to the path of its volume file: a NAME, or
// NAME.toml, lies in `folder`; anything with a '/' is a path. Absolute; need not exist.
Outcome<std::string> resolve_volume_file(const std::string& text, const std::string& folder);

// `path` as an absolute path, relative ones seen from `folder`. Symbolic links stay as they are,
// except in front of a "..".
std::string absolute_path(const std::string& path, const std::string& folder = ".");
std::string folder_of(const std::string& path);

}  // namespace gemel::tools
