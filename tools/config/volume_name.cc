// SPDX-License-Identifier: Apache-2.0
#include "tools/config/volume_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace gemel::tools {

namespace {

namespace fs = std::filesystem;

bool may_be_in_name(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

constexpr std::string_view kSuffix = ".toml";

}  // namespace

Outcome<void> check_volume_name(std::string_view name) {
    const bool good = !name.empty() && name.size() <= kVolumeNameLengthMax && name[0] != '.' &&
                      name[0] != '-' && std::all_of(name.begin(), name.end(), may_be_in_name);
    if (good) return {};
    return Problem{Errc::invalid,
                   fmt::format("'{}' is not a volume's name: 1 to {} letters, digits, '.', '_' or "
                               "'-', not starting with '.' or '-'",
                               name, kVolumeNameLengthMax)};
}

VolumePaths volume_paths(const std::string& folder, const std::string& name) {
    const std::string stem = (fs::path(absolute_path(folder)) / name).string();
    return {stem + ".toml", stem + ".witness", stem + ".nbd.sock", stem + ".ctl.sock"};
}

Outcome<void> check_socket_path(const std::string& path) {
    if (path.size() <= kSocketPathLengthMax) return {};
    return Problem{Errc::invalid,
                   fmt::format("the socket path {} has {} bytes, the system allows {}: use a "
                               "shorter folder or name",
                               path, path.size(), kSocketPathLengthMax)};
}

Outcome<std::string> resolve_volume_file(const std::string& text, const std::string& folder) {
    if (text.find('/') != std::string::npos) return absolute_path(text);
    if (text.ends_with(kSuffix)) return absolute_path(text, folder);
    const Outcome<void> good = check_volume_name(text);
    if (!good.ok()) return good.error();
    return volume_paths(folder, text).file;
}

std::string absolute_path(const std::string& path, const std::string& folder) {
    const fs::path full = fs::absolute(folder) / path;
    fs::path tidy;
    for (const fs::path& part : full) {
        // What ".." means depends on symbolic links, so only the kernel may fold it.
        if (part == "..") return fs::weakly_canonical(full.parent_path()) / full.filename();
        if (part != "." && !part.empty()) tidy /= part;
    }
    return tidy.string();
}

std::string folder_of(const std::string& path) { return fs::path(path).parent_path().string(); }

}  // namespace gemel::tools
