// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/daemon_log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <ctime>

namespace gemel::tools {
namespace {

// The log lies in a memory file system: past this it starts again.
constexpr off_t kLogBytesMax = 256 << 10;

std::string timestamp() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    char text[40];
    const size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ ", &parts);
    return std::string(text, n);
}

}  // namespace

DaemonLog::DaemonLog(const std::string& path)
    : file_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {}

void DaemonLog::say(const std::string& line) {
    if (!file_.valid()) return;
    struct stat info{};
    if (fstat(file_.get(), &info) == 0 && info.st_size > kLogBytesMax) {
        static_cast<void>(ftruncate(file_.get(), 0));
    }
    const std::string text = timestamp() + line + "\n";
    // One write a line, so that two threads' lines never mix.
    static_cast<void>(!write(file_.get(), text.data(), text.size()));
}

}  // namespace gemel::tools
