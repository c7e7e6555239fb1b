// SPDX-License-Identifier: Apache-2.0
//
// The heads of replies, as bytes. What of a reply is not here (data, extents) follows it as it lies
// in memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "blockdev/block_device.h"
#include "net/nbd_protocol.h"

namespace gemel::net {

// A head, at most kBytesMax long; an error's text is cut to fit.
class NbdReplyHead {
public:
    static constexpr size_t kBytesMax = 96;

    std::span<const std::byte> bytes() const { return {bytes_.data(), size_}; }
    void append(std::span<const std::byte> more);
    size_t room() const { return kBytesMax - size_; }

private:
    std::array<std::byte, kBytesMax> bytes_;
    size_t size_ = 0;
};

// Everything but a successful read or block status may be answered like this.
NbdReplyHead simple_reply(uint64_t cookie, nbd::ErrorCode error);

// Structured: `length` bytes of data read at `offset` follow, and that was all.
NbdReplyHead data_reply(uint64_t cookie, uint64_t offset, uint32_t length);
// The same, or an error at `offset`, with more chunks to follow.
NbdReplyHead data_chunk(uint64_t cookie, uint64_t offset, uint32_t length);
NbdReplyHead error_offset_chunk(uint64_t cookie, nbd::ErrorCode error, uint64_t offset);
// Structured: there is nothing to say.
NbdReplyHead empty_reply(uint64_t cookie);
// Structured: failed. A read says where.
NbdReplyHead error_reply(uint64_t cookie, nbd::ErrorCode error, std::string_view text);
NbdReplyHead error_offset_reply(uint64_t cookie, nbd::ErrorCode error, std::string_view text,
                                uint64_t offset);
// Structured: `entries` entries follow.
NbdReplyHead block_status_reply(uint64_t cookie, uint32_t context, size_t entries);

// Extents as entries: neighbours of one kind become one, and none goes beyond `length` bytes.
std::vector<nbd::BlockStatusEntry> block_status_entries(std::span<const Extent> extents,
                                                        uint32_t length);

}  // namespace gemel::net
