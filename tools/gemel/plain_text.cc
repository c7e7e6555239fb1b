// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/plain_text.h"

#include <fmt/format.h>

namespace gemel::tools {

std::string plain_text(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        // C2 80 to C2 9F are the control characters beyond ASCII, as UTF-8.
        const bool control_above_ascii =
            byte == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;
        if (byte < 0x20 || byte == 0x7f || control_above_ascii) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += text[i];
        }
    }
    return out;
}

}  // namespace gemel::tools
