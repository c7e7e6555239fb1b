// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/nbd_address.h"

#include <fmt/format.h>

#include "blockdev/assert.h"

namespace gemel::tools {

namespace {

constexpr std::string_view kUnixPrefix = "unix:";

std::string reachable(const std::string& address) {
    const auto replaced = [&address](std::string_view any, std::string_view loopback) {
        return fmt::format("{}{}", loopback, address.substr(any.size()));
    };
    if (address.starts_with("0.0.0.0:")) return replaced("0.0.0.0", "127.0.0.1");
    if (address.starts_with("[::]:")) return replaced("[::]", "[::1]");
    return address;
}

}  // namespace

std::string url_escape(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                           (c >= '0' && c <= '9') ||
                           std::string_view("-._~/").find(c) != std::string_view::npos;
        if (plain) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return out;
}

std::string nbd_uri(const std::string& address, const std::string& export_name) {
    if (address.starts_with(kUnixPrefix)) {
        return fmt::format("nbd+unix:///{}?socket={}", url_escape(export_name),
                           url_escape(address.substr(kUnixPrefix.size())));
    }
    return fmt::format("nbd://{}/{}", reachable(address), url_escape(export_name));
}

const std::string& preferred_address(const std::vector<std::string>& addresses) {
    CHECK(!addresses.empty());
    for (const std::string& address : addresses) {
        if (address.starts_with(kUnixPrefix)) return address;
    }
    return addresses.front();
}

}  // namespace gemel::tools
