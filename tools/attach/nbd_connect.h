// SPDX-License-Identifier: Apache-2.0
//
// Connecting to an NBD server and agreeing with it on an export.
#pragma once

#include <chrono>
#include <cstdint>

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

    bool read_only() const;
    bool can_flush() const;
    bool can_write_zeroes() const;
};

struct NbdConnection {
    FileDescriptor socket;  // Non-blocking, in the transmission phase.
    NbdExport exported;
};

// Blocks until the export is open or `limit` has passed. Uses little memory and starts no thread.
// Errc::closed: nobody listens there.
Outcome<NbdConnection> connect_nbd(const NbdPlace& place, std::chrono::milliseconds limit);

// Why `now` cannot stand in for `before` under a running block device; empty if it can.
std::string difference(const NbdExport& before, const NbdExport& now);

}  // namespace gemel::tools
