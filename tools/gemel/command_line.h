// SPDX-License-Identifier: Apache-2.0
//
// The command line: which verbs and options there are, and their help.
#pragma once

#include "tools/gemel/arguments.h"

namespace gemel::tools {

// Throws UsageError. Help and version go to standard output.
Arguments parse_command_line(int argc, const char* const* argv);

}  // namespace gemel::tools
