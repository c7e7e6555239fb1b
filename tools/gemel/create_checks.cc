// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/create_checks.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include "blockdev/layout.h"
#include "tools/config/units.h"
#include "tools/config/volume_file.h"

namespace gemel::tools {

namespace {

constexpr uint64_t kBlock = 4096;
constexpr uint64_t kLogLimitMax = 512ull << 10;

void check_block_multiple(const char* option, uint64_t size) {
    if (size == 0) throw UsageError(fmt::format("{} must be more than 0", option));
    if (size % kBlock != 0) {
        throw UsageError(fmt::format("{} {} is not a multiple of 4096; the next one is {}", option,
                                     size, (size / kBlock + 1) * kBlock));
    }
    if (size > blockdev::kMaximumVolumeSize) {
        throw UsageError(fmt::format("{} {} is more than a volume can have, {}", option,
                                     readable_size(size),
                                     readable_size(blockdev::kMaximumVolumeSize)));
    }
}

void check_log(const CreateArguments& arguments) {
    using blockdev::kMaximumLogSize;
    using blockdev::kMinimumLogSize;
    if (arguments.log_size % blockdev::kMiB != 0 || arguments.log_size < kMinimumLogSize ||
        arguments.log_size > kMaximumLogSize) {
        throw UsageError(fmt::format("--log-size {} must be a multiple of 1M from {} to {}",
                                     exact_size(arguments.log_size), exact_size(kMinimumLogSize),
                                     exact_size(kMaximumLogSize)));
    }
    if (arguments.log_limit == 0 || arguments.log_limit % kBlock != 0 ||
        arguments.log_limit > kLogLimitMax) {
        throw UsageError(fmt::format("--log-limit {} must be a multiple of 4096 up to {}",
                                     exact_size(arguments.log_limit), exact_size(kLogLimitMax)));
    }
}

void check_text(const std::string& path) {
    if (path.find("://") != std::string::npos && !path.starts_with('/') && !path.starts_with('.')) {
        throw UsageError(
            fmt::format("members on other hosts ({}) are not supported yet; give a "
                        "local path",
                        path));
    }
    if (path.empty()) throw UsageError("a member's path is empty");
}

std::optional<struct stat> look_at(const std::string& path) {
    struct stat status{};
    if (stat(path.c_str(), &status) == 0) return status;
    if (errno == ENOENT) return std::nullopt;
    if (errno == ENOTDIR) {
        throw Failure(fmt::format("{}: {} is not a folder", path, folder_of(path)));
    }
    throw Failure(fmt::format("{}: {}", path, std::strerror(errno)));
}

void check_parent(const std::string& path) {
    const std::string parent = folder_of(path);
    struct stat status{};
    if (stat(parent.c_str(), &status) != 0) {
        throw Failure(fmt::format("{}: its folder {}: {}", path, parent, std::strerror(errno)));
    }
    if (!S_ISDIR(status.st_mode)) throw Failure(fmt::format("{} is not a folder", parent));
    if (access(parent.c_str(), W_OK) != 0) {
        throw Failure(fmt::format("{} cannot be made: {}", path, std::strerror(errno)));
    }
}

// Where a file would be made. weakly_canonical stops at a link that leads to nothing; open does
// not.
std::filesystem::path canonical_of_missing(std::filesystem::path path) {
    constexpr int kLinksMax = 40;  // As the kernel has it.
    for (int links = 0; links < kLinksMax && std::filesystem::is_symlink(path); ++links) {
        path = path.parent_path() / std::filesystem::read_symlink(path);
    }
    return std::filesystem::weakly_canonical(path);
}

// Whatever the name, the same text means the same storage.
std::string identity(const std::string& path, const std::optional<struct stat>& status) {
    if (!status) return canonical_of_missing(path).string();
    if (S_ISBLK(status->st_mode)) return fmt::format("device {}", status->st_rdev);
    return fmt::format("inode {} {}", status->st_dev, status->st_ino);
}

}  // namespace

void check_create_arguments(const CreateArguments& arguments) {
    const Outcome<void> name = check_volume_name(arguments.name);
    if (!name.ok()) throw UsageError(name.error().text);
    if (arguments.name.ends_with(".toml")) {
        throw UsageError(
            fmt::format("'{}' would be taken for a volume file; give the name "
                        "without .toml",
                        arguments.name));
    }
    check_block_multiple("--size", arguments.size);
    check_log(arguments);
    if (arguments.max_size != 0) {
        check_block_multiple("--max-size", arguments.max_size);
        if (arguments.max_size < arguments.size) {
            throw UsageError(fmt::format("--max-size {} is less than --size {}",
                                         exact_size(arguments.max_size),
                                         exact_size(arguments.size)));
        }
    }
    for (const std::string& member : arguments.members) check_text(member);
    for (const std::string& spare : arguments.spares) check_text(spare);
    if (arguments.members.size() < 2) {
        throw UsageError("a mirror needs at least 2 members; give --member again");
    }
    if (arguments.members.size() + arguments.spares.size() > kVolumeFileMembersMax) {
        throw UsageError(fmt::format("more than {} members", kVolumeFileMembersMax));
    }
}

void check_distinct(const std::vector<std::string>& paths) {
    std::map<std::string, std::string> seen;
    for (const std::string& path : paths) {
        const auto [place, is_new] = seen.emplace(identity(path, look_at(path)), path);
        if (is_new) continue;
        if (place->second == path) throw UsageError(fmt::format("{} is given twice", path));
        throw UsageError(fmt::format("{} and {} are the same storage", place->second, path));
    }
}

void check_member_paths(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
        const std::optional<struct stat> status = look_at(path);
        if (!status) {
            check_parent(path);
            continue;
        }
        if (S_ISDIR(status->st_mode)) throw Failure(fmt::format("{} is a directory", path));
        if (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode)) {
            throw Failure(fmt::format("{} is neither a file nor a block device", path));
        }
        if (access(path.c_str(), R_OK | W_OK) != 0) {
            throw Failure(fmt::format("{}: {}", path, std::strerror(errno)));
        }
    }
}

void check_new_file(const std::string& path, const char* what, bool force) {
    check_parent(path);
    struct stat status{};
    if (lstat(path.c_str(), &status) != 0) return;
    if (S_ISDIR(status.st_mode)) throw Failure(fmt::format("{} is a directory", path));
    if (!force) {
        throw Failure(fmt::format("{} {} exists already; --force overwrites it", what, path));
    }
}

void check_socket_paths(const VolumePaths& paths) {
    for (const std::string& path : {paths.nbd_socket, paths.control_socket}) {
        const Outcome<void> fits = check_socket_path(path);
        if (!fits.ok()) throw Failure(fits.error());
    }
}

}  // namespace gemel::tools
