// SPDX-License-Identifier: Apache-2.0
//
// What this program calls itself.
#pragma once

#include "ecc/checksum.h"

namespace gemel::tools {

// A build that is not for use says so wherever the version is shown.
inline const char* version_text() {
    return ecc::kBlocksAreHashed ? GEMEL_VERSION
                                 : GEMEL_VERSION
               " without checksums: for benchmarks only, it masks no damage";
}

}  // namespace gemel::tools
