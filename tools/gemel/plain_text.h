// SPDX-License-Identifier: Apache-2.0
//
// Text from files, disks and sockets on its way to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace gemel::tools {

// Control characters as \xNN, so that a hostile name can neither start a new line nor drive the
// terminal. Everything else, also UTF-8, stays as it is.
std::string plain_text(std::string_view text);

}  // namespace gemel::tools
