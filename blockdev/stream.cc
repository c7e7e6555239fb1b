// SPDX-License-Identifier: Apache-2.0
#include "blockdev/stream.h"

#include <charconv>

namespace gemel {

namespace {

constexpr std::string_view kUnixPrefix = "unix:";

Problem not_an_address(const std::string& text, const char* why) {
    return {Errc::invalid,
            "\"" + text + "\" is not an address: " + why + "; write unix:PATH or HOST:PORT"};
}

}  // namespace

std::string Address::text() const {
    if (!unix_path.empty()) return std::string(kUnixPrefix) + unix_path;
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Outcome<Address> Address::parse(const std::string& text) {
    Address address;
    if (text.starts_with(kUnixPrefix)) {
        address.unix_path = text.substr(kUnixPrefix.size());
        if (address.unix_path.empty()) return not_an_address(text, "the path is empty");
        if (address.unix_path.find('\0') != std::string::npos) {
            return not_an_address(text, "the path contains a zero byte");
        }
        return address;
    }
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos) return not_an_address(text, "there is no port");
    address.host = text.substr(0, colon);
    if (address.host.size() >= 2 && address.host.front() == '[' && address.host.back() == ']') {
        address.host = address.host.substr(1, address.host.size() - 2);
    } else if (address.host.find(':') != std::string::npos) {
        return not_an_address(text, "an IPv6 host stands in brackets");
    }
    if (address.host.empty()) return not_an_address(text, "the host is empty");
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, address.port);
    if (error != std::errc() || stop != end) {
        return not_an_address(text, "the port is not a number from 0 to 65535");
    }
    return address;
}

}  // namespace gemel
