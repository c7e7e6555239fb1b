// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/text_table.h"

#include <algorithm>

#include "blockdev/assert.h"

namespace gemel::tools {

std::string text_table(const std::vector<std::vector<std::string>>& rows,
                       const std::vector<bool>& right, size_t indent) {
    std::vector<size_t> widths(right.size(), 0);
    for (const auto& row : rows) {
        CHECK(row.size() == right.size());
        for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line(indent, ' ');
        for (size_t i = 0; i < row.size(); ++i) {
            const std::string padding(widths[i] - row[i].size(), ' ');
            line += right[i] ? padding + row[i] : row[i] + padding;
            line += "  ";
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + '\n';
    }
    return out;
}

}  // namespace gemel::tools
