// SPDX-License-Identifier: Apache-2.0
//
// Reads /proc (see proc(5)): /proc/PID/stat fields 3 (state), 9 (flags) and 22 (start time), and
// the pending signals in /proc/PID/status.
#include "blockdev/process.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace gemel {

namespace {

constexpr unsigned long kFlagExiting = 0x4;  // PF_EXITING of the kernel's sched.h.

struct ProcessStat {
    char state = '?';
    unsigned long flags = 0;
    unsigned long long start_time = 0;
};

std::string read_small(const std::string& path) {
    std::string text(4096, '\0');
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (file == nullptr) return {};
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    return text;
}

std::optional<ProcessStat> read_stat(uint64_t pid) {
    const std::string text = read_small("/proc/" + std::to_string(pid) + "/stat");
    // The name may contain anything, also brackets and spaces: fields count from the last ')'.
    const size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return std::nullopt;
    ProcessStat stat;
    const int fields = std::sscanf(text.c_str() + name_end + 1,
                                   " %c %*d %*d %*d %*d %*d %lu %*u %*u %*u %*u %*u %*u %*d %*d "
                                   "%*d %*d %*d %*d %llu",
                                   &stat.state, &stat.flags, &stat.start_time);
    if (fields != 3) return std::nullopt;
    return stat;
}

bool kill_is_pending(uint64_t pid) {
    const std::string text = read_small("/proc/" + std::to_string(pid) + "/status");
    for (const char* key : {"\nSigPnd:", "\nShdPnd:"}) {
        const size_t at = text.find(key);
        if (at == std::string::npos) continue;
        const unsigned long long pending = std::strtoull(text.c_str() + at + 8, nullptr, 16);
        if ((pending >> (SIGKILL - 1)) & 1) return true;
    }
    return false;
}

void read_boot_id(uint64_t out[2]) {
    std::string text = read_small("/proc/sys/kernel/random/boot_id");
    std::erase(text, '-');
    if (text.size() < 32) return;
    out[0] = std::strtoull(text.substr(0, 16).c_str(), nullptr, 16);
    out[1] = std::strtoull(text.substr(16, 16).c_str(), nullptr, 16);
}

}  // namespace

ProcessId current_process() { return process_with(static_cast<uint64_t>(getpid())); }

ProcessId process_with(uint64_t pid) {
    ProcessId process;
    process.pid = pid;
    if (const auto stat = read_stat(process.pid)) process.start_time = stat->start_time;
    read_boot_id(process.boot_id);
    return process;
}

bool process_is_alive(const ProcessId& process) {
    uint64_t boot_id[2] = {0, 0};
    read_boot_id(boot_id);
    if (!std::equal(boot_id, boot_id + 2, process.boot_id)) return false;
    const auto stat = read_stat(process.pid);
    if (!stat || stat->start_time != process.start_time) return false;
    if (stat->state == 'Z' || stat->state == 'X' || (stat->flags & kFlagExiting) != 0) return false;
    return !kill_is_pending(process.pid);
}

}  // namespace gemel
