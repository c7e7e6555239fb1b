// SPDX-License-Identifier: Apache-2.0
//
// Requests of the transmission phase, as pure functions: bytes in, verdicts out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blockdev/block_device.h"
#include "net/nbd_protocol.h"

namespace gemel::net {

// What a request may be as far as the handshake and the export go.
struct NbdTerms {
    uint64_t size = 0;
    uint32_t maximum_transfer = 0;  // Of a read or a write.
    bool read_only = false;
    bool structured_replies = false;
    bool block_status = false;  // The client chose base:allocation.
};

struct NbdRequest {
    nbd::Command command = nbd::Command::read;
    uint16_t flags = 0;
    uint64_t cookie = 0;
    uint64_t offset = 0;
    uint32_t length = 0;
    // What to answer without asking the device; none: the request is in order.
    nbd::ErrorCode error = nbd::ErrorCode::none;
    const char* reason = "";  // A literal, for the error's text.

    bool has_payload() const { return command == nbd::Command::write; }
};

// Reads a header. Fails only if its magic is wrong: the stream has lost its frame and cannot be
// used any further. Every other fault is an answer: NbdRequest::error.
Result<NbdRequest> decode_request(std::span<const std::byte, sizeof(nbd::RequestHeader)> bytes,
                                  const NbdTerms& terms);

// The protocol has few codes; what does not fit one is an I/O error.
nbd::ErrorCode error_code(const Error& error);

}  // namespace gemel::net
