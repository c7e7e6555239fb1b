// SPDX-License-Identifier: Apache-2.0
//
// What listening and connecting share: addresses as the kernel wants them, and socket options.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "blockdev/stream.h"

namespace gemel {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    int family() const { return storage.ss_family; }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    // "HOST:PORT", or "unix".
    std::string text() const;
};

// All that `address` can mean, at least one. Blocks if the host is a name and not a number.
Outcome<std::vector<SocketAddress>> resolve(const Address& address, bool listening);

// Buffers and delays as a block protocol wants them. What the kernel refuses stays as it was.
void tune_socket(int descriptor, int family);

}  // namespace gemel
