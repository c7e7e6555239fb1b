// SPDX-License-Identifier: Apache-2.0
//
// Where an export is: the part of the NBD URI scheme that a kernel block device can be made of.
#pragma once

#include <sys/socket.h>

#include <string>
#include <string_view>
#include <vector>

#include "blockdev/result.h"

namespace gemel::tools {

struct NbdUri {
    std::string socket_path;  // Absolute; empty for TCP.
    std::string host;
    std::string port;
    std::string export_name;

    // Equal for equal places; what a second attachment is recognised by.
    std::string canonical() const;
};

// Relative socket paths are taken from the current folder.
Outcome<NbdUri> parse_nbd_uri(std::string_view text);

// A place resolved once, so that reconnecting needs neither a name service nor memory.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
};
struct NbdPlace {
    std::vector<SocketAddress> addresses;
    std::string export_name;
    std::string text;  // For messages: "unix socket PATH" or "HOST:PORT".
};
Outcome<NbdPlace> resolve(const NbdUri& uri);

}  // namespace gemel::tools
