// SPDX-License-Identifier: Apache-2.0
//
// The daemon's log: a file beside its mount, bounded, each line with its time.
#pragma once

#include <string>

#include "tools/config/file_descriptor.h"

namespace gemel::tools {

class DaemonLog {
public:
    // Appends to `path`; a log that cannot be opened is no reason to fail.
    explicit DaemonLog(const std::string& path);

    // Any thread may call this.
    void say(const std::string& line);

private:
    FileDescriptor file_;
};

}  // namespace gemel::tools
