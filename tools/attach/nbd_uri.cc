// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_uri.h"

#include <netdb.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

namespace gemel::tools {
namespace {

constexpr std::string_view kDefaultPort = "10809";
constexpr size_t kExportNameBytesMax = 4096;  // The protocol's limit for any string.
constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;

Problem bad_uri(std::string_view uri, std::string why) {
    return Problem{Errc::invalid, "bad NBD URI '" + std::string(uri) + "': " + std::move(why)};
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out.push_back(text[i]);
            continue;
        }
        const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
        // A zero byte can be part of neither a path nor an export's name.
        if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
    }
    return out;
}

// Splits at the first `separator`; the second part is empty if there is none.
std::pair<std::string_view, std::string_view> cut(std::string_view text, char separator) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) return {text, {}};
    return {text.substr(0, at), text.substr(at + 1)};
}

Outcome<std::string> socket_parameter(std::string_view uri, std::string_view query) {
    std::string path;
    while (!query.empty()) {
        const auto [parameter, rest] = cut(query, '&');
        const auto [key, value] = cut(parameter, '=');
        query = rest;
        if (key != "socket") {
            return bad_uri(uri, "unknown parameter '" + std::string(key) + "'");
        }
        const std::optional<std::string> decoded = percent_decoded(value);
        if (!decoded) return bad_uri(uri, "a broken % escape");
        path = *decoded;
    }
    return path;
}

Outcome<NbdUri> with_host(std::string_view uri, std::string_view authority, NbdUri parsed) {
    std::string_view port;
    if (authority.starts_with('[')) {
        const size_t end = authority.find(']');
        if (end == std::string_view::npos) return bad_uri(uri, "an address without its ]");
        parsed.host = authority.substr(1, end - 1);
        const std::string_view rest = authority.substr(end + 1);
        if (!rest.empty() && rest[0] != ':') return bad_uri(uri, "text after the address");
        if (!rest.empty()) port = rest.substr(1);
    } else {
        const auto [host, after] = cut(authority, ':');
        parsed.host = host.empty() ? "localhost" : std::string(host);
        port = after;
    }
    parsed.port = port.empty() ? kDefaultPort : port;
    const bool digits = parsed.port.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || parsed.port.size() > 5 || std::stoi(parsed.port) > 65535 ||
        std::stoi(parsed.port) == 0) {
        return bad_uri(uri, "'" + parsed.port + "' is not a port");
    }
    return parsed;
}

Outcome<NbdUri> with_socket(std::string_view uri, std::string_view authority,
                            const std::string& path, NbdUri parsed) {
    if (!authority.empty()) return bad_uri(uri, "a unix socket has no host");
    if (path.empty()) return bad_uri(uri, "?socket=PATH is missing");
    std::error_code failed;
    const std::filesystem::path absolute = std::filesystem::absolute(path, failed);
    if (failed) return bad_uri(uri, failed.message());
    parsed.socket_path = absolute.lexically_normal().string();
    if (parsed.socket_path.size() > kSocketPathBytesMax) {
        return bad_uri(uri, "the socket's path is longer than " +
                                std::to_string(kSocketPathBytesMax) + " bytes");
    }
    return parsed;
}

}  // namespace

std::string NbdUri::canonical() const {
    if (socket_path.empty()) return "nbd://" + host + ":" + port + "/" + export_name;
    return "nbd+unix:///" + export_name + "?socket=" + socket_path;
}

Outcome<NbdUri> parse_nbd_uri(std::string_view text) {
    const size_t scheme_end = text.find("://");
    if (scheme_end == std::string_view::npos) {
        return bad_uri(text, "it must begin with nbd:// or nbd+unix://");
    }
    const std::string_view scheme = text.substr(0, scheme_end);
    if (scheme == "nbds" || scheme == "nbds+unix") return bad_uri(text, "TLS is not supported");
    if (scheme != "nbd" && scheme != "nbd+unix") {
        return bad_uri(text, "it must begin with nbd:// or nbd+unix://");
    }
    if (text.find('\n') != std::string_view::npos || text.find('\0') != std::string_view::npos) {
        return bad_uri("", "a control character in it");
    }
    const auto [location, query] = cut(text.substr(scheme_end + 3), '?');
    const auto [authority, name] = cut(location, '/');
    const std::optional<std::string> export_name = percent_decoded(name);
    if (!export_name) return bad_uri(text, "a broken % escape");
    if (export_name->size() > kExportNameBytesMax) return bad_uri(text, "the name is too long");
    if (authority.find('@') != std::string_view::npos) return bad_uri(text, "a user name in it");
    Outcome<std::string> path = socket_parameter(text, query);
    if (!path.ok()) return path.error();
    NbdUri parsed;
    parsed.export_name = *export_name;
    if (scheme == "nbd+unix") {
        return with_socket(text, authority, path.value(), std::move(parsed));
    }
    if (!path.value().empty()) return bad_uri(text, "?socket= belongs to nbd+unix://");
    return with_host(text, authority, std::move(parsed));
}

Outcome<NbdPlace> resolve(const NbdUri& uri) {
    NbdPlace place;
    place.export_name = uri.export_name;
    if (!uri.socket_path.empty()) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, uri.socket_path.data(), uri.socket_path.size());
        SocketAddress& only = place.addresses.emplace_back();
        std::memcpy(&only.storage, &address, sizeof address);
        only.length = sizeof address;
        place.text = "unix socket " + uri.socket_path;
        return place;
    }
    place.text = uri.host + ":" + uri.port;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = getaddrinfo(uri.host.c_str(), uri.port.c_str(), &hints, &found);
    if (failed != 0) {
        return Problem{Errc::not_found, "cannot resolve " + uri.host + ": " + gai_strerror(failed)};
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
    for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
        SocketAddress& address = place.addresses.emplace_back();
        std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
        address.length = each->ai_addrlen;
    }
    return place;
}

}  // namespace gemel::tools
