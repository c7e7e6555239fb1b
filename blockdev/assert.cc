// SPDX-License-Identifier: Apache-2.0
#include "blockdev/assert.h"

#include <cstdio>
#include <cstdlib>

namespace gemel {

void check_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "gemel: internal error: CHECK(%s) failed at %s:%d\n", condition, file,
                 line);
    std::abort();
}

}  // namespace gemel
