// SPDX-License-Identifier: Apache-2.0
//
// From the addresses a server listens on to the URI that a client is given.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gemel::tools {

// Everything but letters, digits and -._~/ as %XX.
std::string url_escape(std::string_view text);

// For `address`, "unix:PATH" or "HOST:PORT". A server that listens on every address of its host is
// reached by the loopback one.
std::string nbd_uri(const std::string& address, const std::string& export_name);

// A unix socket if there is one: it needs no network. `addresses` is not empty.
const std::string& preferred_address(const std::vector<std::string>& addresses);

}  // namespace gemel::tools
