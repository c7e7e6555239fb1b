// SPDX-License-Identifier: Apache-2.0
//
// What can be said against creating a volume before anything is touched. The member store checks
// again what matters to it; these checks give the clearer sentence, and give it earlier.
#pragma once

#include <string>
#include <vector>

#include "tools/config/volume_name.h"
#include "tools/gemel/arguments.h"

namespace gemel::tools {

// Throws UsageError: sizes, names and numbers that can never work.
void check_create_arguments(const CreateArguments& arguments);

// Throws UsageError if two of the absolute paths lead to the same file or device, by whatever name.
void check_distinct(const std::vector<std::string>& paths);

// Throws Failure if one of the absolute paths cannot be a member: a folder, a pipe, a path without
// its parent folder, a read-only file system.
void check_member_paths(const std::vector<std::string>& paths);

// Throws Failure if a file may not be written at `path` (absolute), or is there and may not be
// replaced.
void check_new_file(const std::string& path, const char* what, bool force);

// Throws Failure if the volume could not be served from there.
void check_socket_paths(const VolumePaths& paths);

}  // namespace gemel::tools
