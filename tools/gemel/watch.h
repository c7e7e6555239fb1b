// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace gemel::tools {

// Shows a served volume until SIGINT or SIGTERM: drawn anew every second on a terminal, else
// printed whenever something has changed. Throws Failure when the server goes away. `given` is what
// the operator called the volume.
int watch_volume(const std::string& file, const std::string& given);

}  // namespace gemel::tools
