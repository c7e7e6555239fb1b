// SPDX-License-Identifier: Apache-2.0
//
// Which file systems may leave a request without an answer: those where somebody else has to give
// it, a daemon or another host. What is asked of them must never be waited for by a reactor, nor
// must it hold up what is asked of others.
#pragma once

#include <cstdint>
#include <string>

namespace gemel {

// `type` is what statfs(2) calls f_type. What is not known to be local counts as not local: that
// costs some speed only.
bool file_system_may_hang(uint64_t type);

// The same of the place where `path` lies, or would lie once it was made. Asks the file system, and
// so may hang itself.
bool path_may_hang(const std::string& path);

}  // namespace gemel
