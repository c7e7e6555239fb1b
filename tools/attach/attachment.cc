// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/attachment.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "tools/attach/block_devices.h"
#include "tools/attach/fuse_device.h"

namespace gemel::tools {
namespace {

namespace fs = std::filesystem;

constexpr char kRoot[] = "/run/gemel";
constexpr std::string_view kPrefix = "attach-";

std::string errno_text() { return std::strerror(errno); }

template <typename T>
T number_in(std::string_view text) {
    T value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

Attachment read_record(const std::string& folder) {
    Attachment found;
    found.folder = folder;
    std::ifstream file(folder + "/record");
    std::string line;
    while (std::getline(file, line)) {
        const size_t at = line.find('=');
        if (at == std::string::npos) continue;
        const std::string key = line.substr(0, at);
        const std::string value = line.substr(at + 1);
        if (key == "uri") found.uri = value;
        if (key == "device") found.device = value;
        if (key == "daemon") found.daemon = number_in<pid_t>(value);
        if (key == "daemon_start") found.daemon_start = number_in<uint64_t>(value);
    }
    return found;
}

// True for the folder of an attachment, by the shape of its name.
bool is_folder(const std::string& path) {
    const std::string beginning = std::string(kRoot) + "/" + std::string(kPrefix);
    return path.starts_with(beginning) && path.find('/', beginning.size()) == std::string::npos;
}

// The folder in the path of a loop device's backing file, if it has the shape of one of ours.
std::optional<std::string> folder_of(const std::string& backing_file) {
    const size_t end = backing_file.find(std::string("/mnt/") + kFuseFileName);
    if (end == std::string::npos) return std::nullopt;
    const std::string folder = backing_file.substr(0, end);
    return is_folder(folder) ? std::optional(folder) : std::nullopt;
}

// What the kernel knows about where the device comes from.
std::optional<std::string> folder_behind(const std::string& device) {
    if (const std::optional<std::string> file = loop_backing_file(device)) {
        const std::optional<std::string> folder = folder_of(*file);
        return folder ? folder : folder_of(loop_given_path(device));
    }
    if (nbd_connected(device)) {
        const std::string identifier = nbd_identifier(device);
        if (is_folder(identifier)) return identifier;
    }
    return std::nullopt;
}

}  // namespace

std::string Attachment::backing_file() const { return mount_point() + "/" + kFuseFileName; }

bool Attachment::daemon_alive() const {
    return daemon > 0 && daemon_start != 0 && process_start_time(daemon) == daemon_start;
}

uint64_t process_start_time(pid_t process) {
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string line;
    if (!std::getline(file, line)) return 0;
    // The second field, a name in parentheses, may contain anything; the start time is the 22nd.
    const size_t after_name = line.rfind(')');
    if (after_name == std::string::npos) return 0;
    std::istringstream fields(line.substr(after_name + 1));
    std::string field;
    fields >> field;
    if (field == "Z" || field == "X") return 0;  // Dead, only not collected yet.
    for (int i = 4; i <= 22; ++i) fields >> field;
    return number_in<uint64_t>(field);
}

Outcome<FileDescriptor> lock_attachments() {
    if (mkdir(kRoot, 0755) != 0 && errno != EEXIST) {
        return Problem{Errc::io, std::string("cannot create ") + kRoot + ": " + errno_text()};
    }
    FileDescriptor lock(open(kRoot, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock.valid() || flock(lock.get(), LOCK_EX) != 0) {
        return Problem{Errc::io, std::string("cannot lock ") + kRoot + ": " + errno_text()};
    }
    return lock;
}

Outcome<Attachment> make_attachment(const std::string& canonical_uri) {
    Attachment made;
    made.uri = canonical_uri;
    std::string folder = std::string(kRoot) + "/" + std::string(kPrefix) + "XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) {
        return Problem{Errc::io,
                       std::string("cannot create a folder in ") + kRoot + ": " + errno_text()};
    }
    made.folder = folder;
    if (mkdir(made.mount_point().c_str(), 0700) != 0) {
        const std::string why = errno_text();
        remove(made);
        return Problem{Errc::io, "cannot create " + made.mount_point() + ": " + why};
    }
    return made;
}

Outcome<void> save(const Attachment& attachment) {
    const std::string path = attachment.folder + "/record";
    const std::string fresh = path + ".new";
    {
        std::ofstream file(fresh);
        file << "uri=" << attachment.uri << "\ndevice=" << attachment.device
             << "\ndaemon=" << attachment.daemon << "\ndaemon_start=" << attachment.daemon_start
             << "\n";
        file.close();
        if (!file) return Problem{Errc::io, "cannot write " + fresh + ": " + errno_text()};
    }
    if (std::rename(fresh.c_str(), path.c_str()) != 0) {
        return Problem{Errc::io, "cannot write " + path + ": " + errno_text()};
    }
    return {};
}

void remove(const Attachment& attachment) {
    // Lazily: a crashed daemon's mount answers nothing any more, and nobody is in it.
    while (umount2(attachment.mount_point().c_str(), MNT_DETACH) == 0) {}
    for (const char* name : {"record", "record.new", "log"}) {
        unlink((attachment.folder + "/" + name).c_str());
    }
    rmdir(attachment.mount_point().c_str());
    rmdir(attachment.folder.c_str());
}

std::vector<Attachment> list_attachments() {
    std::vector<Attachment> found;
    std::error_code ignored;
    for (const fs::directory_entry& each : fs::directory_iterator(kRoot, ignored)) {
        if (!each.path().filename().string().starts_with(kPrefix)) continue;
        found.push_back(read_record(each.path().string()));
    }
    return found;
}

std::optional<Attachment> find_attachment(const std::string& device) {
    // The kernel knows best what a device is made of.
    if (const std::optional<std::string> folder = folder_behind(device)) {
        Attachment found = read_record(*folder);
        found.device = device;
        return found;
    }
    // A device of somebody else's by now is not what an old record means.
    if (loop_backing_file(device) || nbd_connected(device)) return std::nullopt;
    for (const Attachment& each : list_attachments()) {
        if (each.device == device) return each;
    }
    return std::nullopt;
}

void remove_leftovers() {
    for (const Attachment& each : list_attachments()) {
        if (each.daemon_alive()) continue;
        if (!loop_devices_on(each.backing_file()).empty()) continue;
        // A kernel nbd device goes on without its daemon.
        if (nbd_connected(each.device) && nbd_identifier(each.device) == each.folder) continue;
        remove(each);
    }
}

}  // namespace gemel::tools
