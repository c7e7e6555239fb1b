// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/block_devices.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

#include "tools/attach/nbd_netlink.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kLoopAttempts = 64;
constexpr std::chrono::milliseconds kPollPause{10};

std::string name_of(const std::string& device) { return fs::path(device).filename().string(); }

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// "8:1" of a block device, as mountinfo writes it.
std::string device_number(const std::string& device) {
    struct stat info{};
    if (stat(device.c_str(), &info) != 0 || !S_ISBLK(info.st_mode)) return "";
    return std::to_string(major(info.st_rdev)) + ":" + std::to_string(minor(info.st_rdev));
}

// mountinfo and swaps write blanks and the like as \ooo.
std::string unescaped(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size()) {
            out.push_back(static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8)));
            i += 3;
        } else {
            out.push_back(text[i]);
        }
    }
    return out;
}

// The device and its partitions.
std::vector<std::string> with_partitions(const std::string& device) {
    std::vector<std::string> all{device};
    std::error_code ignored;
    for (const auto& each : fs::directory_iterator("/sys/block/" + name_of(device), ignored)) {
        if (fs::exists(each.path() / "partition", ignored)) {
            all.push_back("/dev/" + each.path().filename().string());
        }
    }
    return all;
}

std::string mount_of(const std::string& device) {
    const std::string number = device_number(device);
    std::ifstream file("/proc/self/mountinfo");
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream fields(line);
        std::string id, parent, dev, root, point, word;
        fields >> id >> parent >> dev >> root >> point;
        while (fields >> word && word != "-") {}
        std::string type, source;
        fields >> type >> source;
        // btrfs shows a number of its own; its source is the device's path.
        if (dev == number || unescaped(source) == device) return unescaped(point);
    }
    return "";
}

bool is_swap(const std::string& device) {
    std::ifstream file("/proc/swaps");
    std::string line;
    while (std::getline(file, line)) {
        if (unescaped(line.substr(0, line.find_first_of(" \t"))) == device) return true;
    }
    return false;
}

// A mapping, an array, or another loop device on top of this one.
std::string holder_of(const std::string& device) {
    std::error_code ignored;
    const fs::path holders = fs::path("/sys/class/block") / name_of(device) / "holders";
    for (const auto& each : fs::directory_iterator(holders, ignored)) {
        return each.path().filename().string();
    }
    const std::vector<std::string> stacked = loop_devices_on(device);
    return stacked.empty() ? "" : stacked.front();
}

bool has_open(const fs::path& process, dev_t number) {
    std::error_code ignored;
    for (const auto& each : fs::directory_iterator(process / "fd", ignored)) {
        struct stat info{};
        if (stat(each.path().c_str(), &info) != 0) continue;
        if (S_ISBLK(info.st_mode) && info.st_rdev == number) return true;
    }
    return false;
}

std::string opener_of(const std::string& device) {
    struct stat info{};
    if (stat(device.c_str(), &info) != 0 || !S_ISBLK(info.st_mode)) return "";
    std::error_code ignored;
    for (const auto& each : fs::directory_iterator("/proc", ignored)) {
        const std::string process = each.path().filename().string();
        if (process.find_first_not_of("0123456789") != std::string::npos) continue;
        if (process == std::to_string(getpid()) || !has_open(each.path(), info.st_rdev)) continue;
        return first_line(each.path() / "comm") + " (process " + process + ")";
    }
    return "";
}

Problem loop_problem(const std::string& what) {
    return Problem{error_from_errno(errno, "").code, what + ": " + std::strerror(errno)};
}

}  // namespace

std::optional<std::string> loop_backing_file(const std::string& device) {
    const std::string file = first_line("/sys/block/" + name_of(device) + "/loop/backing_file");
    if (file.empty()) return std::nullopt;
    return file;
}

std::string loop_given_path(const std::string& device) {
    const FileDescriptor loop(open(device.c_str(), O_RDONLY | O_CLOEXEC));
    loop_info64 info{};
    if (!loop.valid() || ioctl(loop.get(), LOOP_GET_STATUS64, &info) != 0) return "";
    const char* const name = reinterpret_cast<const char*>(info.lo_file_name);
    return std::string(name, strnlen(name, sizeof info.lo_file_name));
}

std::vector<std::string> loop_devices_on(const std::string& file) {
    std::vector<std::string> found;
    std::error_code ignored;
    for (const auto& each : fs::directory_iterator("/sys/block", ignored)) {
        const std::string device = "/dev/" + each.path().filename().string();
        if (!device.starts_with("/dev/loop")) continue;
        if (loop_backing_file(device) == file) found.push_back(device);
    }
    return found;
}

Outcome<std::string> set_up_loop(const LoopPlan& plan) {
    const FileDescriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control.valid()) return loop_problem("no loop devices here: /dev/loop-control");
    const int access = plan.read_only ? O_RDONLY : O_RDWR;
    const FileDescriptor file(open(plan.file.c_str(), access | O_DIRECT | O_CLOEXEC));
    if (!file.valid()) return loop_problem("cannot open " + plan.file);
    loop_config config{};
    config.fd = static_cast<uint32_t>(file.get());
    config.block_size = plan.block_size;
    config.info.lo_flags = LO_FLAGS_DIRECT_IO | (plan.read_only ? LO_FLAGS_READ_ONLY : 0);
    const size_t name_bytes = std::min(plan.file.size(), sizeof config.info.lo_file_name - 1);
    std::memcpy(config.info.lo_file_name, plan.file.data(), name_bytes);
    for (int attempt = 0; attempt < kLoopAttempts; ++attempt) {
        const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return loop_problem("no free loop device");
        const std::string device = "/dev/loop" + std::to_string(number);
        const FileDescriptor loop(open(device.c_str(), access | O_CLOEXEC));
        if (!loop.valid()) return loop_problem("cannot open " + device);
        if (ioctl(loop.get(), LOOP_CONFIGURE, &config) == 0) return device;
        // Somebody else was faster with this one.
        if (errno != EBUSY) return loop_problem("cannot set up " + device);
    }
    return loop_problem("no free loop device");
}

Outcome<void> clear_loop(const std::string& device, std::chrono::milliseconds limit) {
    const std::optional<std::string> file = loop_backing_file(device);
    if (!file) return {};
    {
        const FileDescriptor loop(open(device.c_str(), O_RDONLY | O_CLOEXEC));
        if (!loop.valid()) return loop_problem("cannot open " + device);
        if (ioctl(loop.get(), LOOP_CLR_FD) != 0 && errno != ENXIO) {
            return loop_problem("cannot clear " + device);
        }
    }
    // The kernel lets go when the last one has closed the device, and that may be a curious
    // bystander such as udev.
    const Clock::time_point deadline = Clock::now() + limit;
    while (loop_backing_file(device) == file) {
        if (Clock::now() >= deadline) {
            return Problem{Errc::busy, device +
                                           " is still open somewhere; it goes away when "
                                           "the last user has closed it"};
        }
        std::this_thread::sleep_for(kPollPause);
    }
    return {};
}

bool nbd_connected(const std::string& device) {
    return nbd_index(device) && !first_line("/sys/block/" + name_of(device) + "/pid").empty();
}

std::string nbd_identifier(const std::string& device) {
    return first_line("/sys/block/" + name_of(device) + "/backend");
}

std::optional<uint32_t> nbd_index(const std::string& device) {
    const std::string_view prefix = "/dev/nbd";
    if (!device.starts_with(prefix)) return std::nullopt;
    uint32_t number = 0;
    const char* const end = device.data() + device.size();
    const auto [stopped, failed] = std::from_chars(device.data() + prefix.size(), end, number);
    if (failed != std::errc() || stopped != end) return std::nullopt;
    return number;
}

Outcome<void> disconnect_nbd(const std::string& device, std::chrono::milliseconds limit) {
    const std::optional<uint32_t> index = nbd_index(device);
    if (!index || !nbd_connected(device)) return {};
    Outcome<NbdNetlink> kernel = NbdNetlink::open();
    if (!kernel.ok()) return kernel.error();
    const Outcome<void> told = kernel.value().disconnect(*index);
    if (!told.ok()) return told;
    const Clock::time_point deadline = Clock::now() + limit;
    while (nbd_connected(device)) {
        if (Clock::now() >= deadline) {
            return Problem{Errc::busy, device +
                                           " is still open somewhere; it goes away when "
                                           "the last user has closed it"};
        }
        std::this_thread::sleep_for(kPollPause);
    }
    return {};
}

std::string progress_of(const std::string& device) {
    std::istringstream fields(first_line("/sys/block/" + name_of(device) + "/stat"));
    // Only what counts completed requests: times go on while one hangs.
    constexpr std::array<int, 4> kCompleted = {1, 5, 12, 16};
    std::string text, field;
    for (int i = 1; fields >> field; ++i) {
        if (std::find(kCompleted.begin(), kCompleted.end(), i) != kCompleted.end()) {
            text += field + " ";
        }
    }
    return text;
}

std::string use_of(const std::string& device) {
    for (const std::string& part : with_partitions(device)) {
        const std::string point = mount_of(part);
        if (!point.empty()) return "mounted at " + point;
        if (is_swap(part)) return "in use as swap";
        const std::string holder = holder_of(part);
        if (!holder.empty()) return "in use by " + holder;
    }
    const std::string opener = opener_of(device);
    return opener.empty() ? "" : "opened by " + opener;
}

}  // namespace gemel::tools
