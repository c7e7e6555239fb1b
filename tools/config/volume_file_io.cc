// SPDX-License-Identifier: Apache-2.0
//
// Writing the volume file, and both directions between text and disk.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "tools/config/file_descriptor.h"
#include "tools/config/units.h"
#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"

namespace gemel::tools {

namespace {

// A basic TOML string: everything that is not plain is escaped.
std::string toml_text(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte == 0x7f) {
            out += fmt::format("\\u{:04X}", byte);
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string path_seen_from(const std::string& folder, const std::string& path) {
    const std::string below = folder.ends_with('/') ? folder : folder + '/';
    return path.starts_with(below) ? path.substr(below.size()) : path;
}

Problem failed(const std::string& path, const char* doing) {
    const Error error = error_from_errno(errno, doing);
    return {error.code, fmt::format("cannot write {}: {}", path, error.text())};
}

Problem cannot_read(const std::string& path) {
    if (errno == ENOENT) {
        return {Errc::not_found, fmt::format("there is no volume file {}; 'gemel create' makes "
                                             "one, 'gemel assemble' finds a lost one again",
                                             path)};
    }
    const Error error = error_from_errno(errno, "");
    return {error.code, fmt::format("cannot read {}: {}", path, error.text())};
}

// At most a byte more than a volume file may have.
Outcome<std::string> read_whole(const std::string& path) {
    // Not blocking: a named pipe in place of the file must not hang us.
    const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status{};
    if (!file.valid() || fstat(file.get(), &status) != 0) return cannot_read(path);
    if (!S_ISREG(status.st_mode)) {
        return Problem{Errc::invalid, fmt::format("{} is not a regular file", path)};
    }
    std::string text(kVolumeFileSizeMax + 1, '\0');
    size_t length = 0;
    while (length < text.size()) {
        const ssize_t n = read(file.get(), text.data() + length, text.size() - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return cannot_read(path);
        if (n == 0) break;
        length += static_cast<size_t>(n);
    }
    text.resize(length);
    return text;
}

Outcome<void> write_whole(const std::string& path, std::string_view text) {
    const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file.valid()) return failed(path, "open");
    while (!text.empty()) {
        const ssize_t n = write(file.get(), text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed(path, "write");
        text.remove_prefix(static_cast<size_t>(n));
    }
    if (fsync(file.get()) != 0) return failed(path, "fsync");
    return {};
}

Outcome<void> move_into_place(const std::string& from, const std::string& to, bool replace) {
    // link() is the rename that refuses to replace, and works on every file system with links.
    if (replace) {
        if (rename(from.c_str(), to.c_str()) != 0) return failed(to, "rename");
    } else {
        if (link(from.c_str(), to.c_str()) != 0) return failed(to, "link");
        unlink(from.c_str());
    }
    const FileDescriptor folder(open(folder_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid() || fsync(folder.get()) != 0) return failed(to, "fsync of its folder");
    return {};
}

}  // namespace

std::string render_volume_file(const mirror::VolumeDescription& description,
                               const std::string& path) {
    const std::string folder = folder_of(path);
    std::string out =
        "# A Gemel volume. This file only says where the members lie: what they hold decides.\n"
        "# If it is lost, 'gemel assemble MEMBER...' writes it again.\n";
    out += fmt::format("schema = 1\nname = {}\nuuid = {}\nsize = {}\nwitness = {}\n",
                       toml_text(description.name), toml_text(description.uuid.text()),
                       toml_text(exact_size(description.size)),
                       toml_text(path_seen_from(folder, description.witness_path)));
    for (const mirror::MemberDescription& member : description.members) {
        out += fmt::format("\n[[member]]\npath = {}\nuuid = {}\n",
                           toml_text(path_seen_from(folder, member.path)),
                           toml_text(member.uuid.text()));
    }
    return out;
}

Outcome<void> check_volume_description(const mirror::VolumeDescription& description,
                                       const std::string& path) {
    const auto readable = parse_volume_file(render_volume_file(description, path), path);
    if (readable.ok()) return {};
    return Problem{Errc::invalid,
                   fmt::format("this cannot be kept in a volume file: {}", readable.error().text)};
}

Outcome<mirror::VolumeDescription> read_volume_file(const std::string& path) {
    const Outcome<std::string> text = read_whole(path);
    if (!text.ok()) return text.error();
    return parse_volume_file(text.value(), path);
}

bool looks_like_volume_file(const std::string& path) {
    const Outcome<std::string> text = read_whole(path);
    return text.ok() && text.value().find("[[member]]") != std::string::npos;
}

Outcome<void> write_volume_file(const std::string& path,
                                const mirror::VolumeDescription& description, bool replace) {
    const Outcome<void> readable = check_volume_description(description, path);
    if (!readable.ok()) return readable.error();
    const std::string text = render_volume_file(description, path);
    const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
    Outcome<void> outcome = write_whole(temporary, text);
    if (outcome.ok()) outcome = move_into_place(temporary, path, replace);
    if (!outcome.ok()) unlink(temporary.c_str());
    return outcome;
}

}  // namespace gemel::tools
