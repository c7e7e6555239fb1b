// SPDX-License-Identifier: Apache-2.0
//
// Columns of text, each as wide as its widest cell.
#pragma once

#include <string>
#include <vector>

namespace gemel::tools {

// Rows of equal length, the first one the heading. `right` says which columns are aligned right.
// Each line starts with `indent` spaces and has no blanks at its end.
std::string text_table(const std::vector<std::vector<std::string>>& rows,
                       const std::vector<bool>& right, size_t indent);

}  // namespace gemel::tools
