// SPDX-License-Identifier: Apache-2.0
//
// The NBD server's bounds. net/README.md adds them up.
#pragma once

#include <cstddef>
#include <cstdint>

#include "blockdev/loop.h"
#include "net/nbd_input.h"

namespace gemel::net {

inline constexpr uint32_t kNbdTransferBytesMax = 32u << 20;  // Of one read or write.
inline constexpr size_t kNbdConnectionsMax = 64;
inline constexpr size_t kNbdRequestsPerConnection = 256;  // Until their replies are sent.
inline constexpr uint64_t kNbdBytesPerConnection = 64ull << 20;
inline constexpr uint64_t kNbdBytesPerServer = 128ull << 20;
inline constexpr size_t kNbdPoolKeepBytes =
    32 << 20;  // Free buffers are kept up to here, with those in use.
// Runs of good and bad in a read of which a part has failed; with more all of it has failed.
inline constexpr size_t kNbdReplyPartsMax = 64;
inline constexpr size_t kNbdExtentsMax = 512;  // In one block status reply.

// A client that has not finished its handshake by then is cut off.
inline constexpr uint64_t kNbdHandshakeLimitNs = 10 * kSecond;
// While others wait for memory: a client that leaves what we want of it undone for so long is cut.
inline constexpr uint64_t kNbdStallLimitNs = 10 * kSecond;
// How long the requests of a connection that its client has closed may keep a new one waiting
// before what is unread of them is dropped.
inline constexpr uint64_t kNbdDrainGraceNs = 2 * kSecond;

// The largest request fits beside the chunk it arrived in, and two connections can have one each.
static_assert(kNbdTransferBytesMax + 2 * NbdInput::kChunkBytes <= kNbdBytesPerConnection);
static_assert(2 * kNbdTransferBytesMax <= kNbdBytesPerServer);
// Every connection's own chunk is a small part of the whole.
static_assert(kNbdConnectionsMax * NbdInput::kChunkBytes <= kNbdBytesPerServer / 8);

}  // namespace gemel::net
