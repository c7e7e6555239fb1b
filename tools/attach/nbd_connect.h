// SPDX-License-Identifier: Apache-2.0
//
// Connecting to an NBD server and agreeing with it on an export.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "blockdev/result.h"
#include "tools/attach/nbd_uri.h"
#include "tools/config/file_descriptor.h"

namespace gemel::tools {

// What the server said about the export.
struct NbdExport {
    uint64_t size = 0;
    uint16_t flags = 0;
    uint32_t block_minimum = 1;  // Powers of two; the protocol's defaults where nothing was said.
    uint32_t block_preferred = 4096;
    uint32_t payload_maximum = 32u << 20;
    std::string description;  // Empty if the server gave none.

    bool read_only() const;
    bool can_flush() const;
    bool can_write_zeroes() const;
};

// Tells a Gemel server whose connection this is, so that it carries out nothing more of what came
// on the client's connections before (net/README.md). Other servers are asked in vain.
struct NbdAnnouncement {
    std::array<uint8_t, 16> session{};
    uint64_t generation = 0;  // Grows with every attempt to connect.
};

// A session that nobody else has, at its first generation.
NbdAnnouncement new_session();

struct NbdConnection {
    FileDescriptor socket;  // Non-blocking, in the transmission phase.
    NbdExport exported;
    NbdAnnouncement announced;
};

// Blocks until the export is open or `limit` has passed. Uses little memory and starts no thread.
// Errc::closed: nobody listens there.
Outcome<NbdConnection> connect_nbd(const NbdPlace& place, const NbdAnnouncement& announcement,
                                   std::chrono::milliseconds limit);

// Why `now` cannot stand in for `before` under a running block device; empty if it can.
std::string difference(const NbdExport& before, const NbdExport& now);

}  // namespace gemel::tools
