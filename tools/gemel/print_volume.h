// SPDX-License-Identifier: Apache-2.0
//
// What create and assemble print when they are done.
#pragma once

#include <string>

#include "mirror/volume_description.h"

namespace gemel::tools {

// On standard output: "DID NAME: ..." for people, or JSON as described in docs/json.md.
void print_volume(const char* did, const mirror::VolumeDescription& volume, const std::string& file,
                  bool json);

}  // namespace gemel::tools
