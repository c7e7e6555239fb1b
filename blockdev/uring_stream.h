// SPDX-License-Identifier: Apache-2.0
//
// Unix and TCP sockets through io_uring.
#pragma once

#include <memory>

#include "blockdev/stream.h"
#include "blockdev/uring_env.h"

namespace gemel {

// Listens. For a unix socket: a path over 107 bytes, a path that is no socket and one that another
// process listens on are refused; a socket file that nobody listens on is replaced. The file is
// removed when the listener goes, if it is still the one made here; only its owner may connect.
Outcome<std::unique_ptr<Listener>> listen_uring(UringEnv& env, const Address& address);

// Connects, or fails within kConnectLimitNs. A host that is a name is looked up while the loop
// waits: give numbers where that matters.
inline constexpr uint64_t kConnectLimitNs = 10 * kSecond;
Task<Result<std::unique_ptr<Stream>>> connect_uring(UringEnv& env, Address address);

// Wraps a connected socket, and owns it from now on. For sockets that were inherited or come in
// pairs.
std::unique_ptr<Stream> stream_from_socket(UringEnv& env, int descriptor, std::string peer);

}  // namespace gemel
