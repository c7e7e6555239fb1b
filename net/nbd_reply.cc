// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_reply.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"

namespace gemel::net {

namespace {

using nbd::Chunk;
using nbd::ErrorCode;

nbd::ChunkHeader chunk_header(uint64_t cookie, Chunk type, size_t length) {
    nbd::ChunkHeader header;
    header.magic = nbd::kStructuredReplyMagic;
    header.flags = nbd::kChunkDone;
    header.type = static_cast<uint16_t>(type);
    header.cookie = cookie;
    header.length = static_cast<uint32_t>(length);
    return header;
}

NbdReplyHead error_head(uint64_t cookie, Chunk type, ErrorCode error, std::string_view text,
                        size_t trailer_bytes) {
    const size_t text_room = NbdReplyHead::kBytesMax - sizeof(nbd::ErrorChunk) - trailer_bytes;
    text = text.substr(0, text_room);
    const size_t body = sizeof(nbd::ErrorChunk) - sizeof(nbd::ChunkHeader);
    nbd::ErrorChunk chunk;
    chunk.header = chunk_header(cookie, type, body + text.size() + trailer_bytes);
    chunk.error = static_cast<uint32_t>(error);
    chunk.text_length = static_cast<uint16_t>(text.size());
    NbdReplyHead head;
    head.append(bytes_of(chunk));
    head.append(std::as_bytes(std::span(text)));
    return head;
}

uint32_t state_of(const Extent& extent) {
    return (extent.hole ? nbd::kStateHole : 0) | (extent.zero ? nbd::kStateZero : 0);
}

}  // namespace

void NbdReplyHead::append(std::span<const std::byte> more) {
    CHECK(more.size() <= room());
    if (!more.empty()) std::memcpy(bytes_.data() + size_, more.data(), more.size());
    size_ += more.size();
}

NbdReplyHead simple_reply(uint64_t cookie, ErrorCode error) {
    nbd::SimpleReply reply;
    reply.magic = nbd::kSimpleReplyMagic;
    reply.error = static_cast<uint32_t>(error);
    reply.cookie = cookie;
    NbdReplyHead head;
    head.append(bytes_of(reply));
    return head;
}

NbdReplyHead data_reply(uint64_t cookie, uint64_t offset, uint32_t length) {
    nbd::OffsetDataChunk chunk;
    chunk.header = chunk_header(cookie, Chunk::offset_data, sizeof chunk.offset + length);
    chunk.offset = offset;
    NbdReplyHead head;
    head.append(bytes_of(chunk));
    return head;
}

NbdReplyHead data_chunk(uint64_t cookie, uint64_t offset, uint32_t length) {
    nbd::OffsetDataChunk chunk;
    chunk.header = chunk_header(cookie, Chunk::offset_data, sizeof chunk.offset + length);
    chunk.header.flags = 0;
    chunk.offset = offset;
    NbdReplyHead head;
    head.append(bytes_of(chunk));
    return head;
}

NbdReplyHead error_offset_chunk(uint64_t cookie, ErrorCode error, uint64_t offset) {
    nbd::ErrorChunk chunk;
    const be64 where = offset;
    chunk.header = chunk_header(cookie, Chunk::error_offset,
                                sizeof chunk - sizeof chunk.header + sizeof where);
    chunk.header.flags = 0;
    chunk.error = static_cast<uint32_t>(error);
    chunk.text_length = 0;
    NbdReplyHead head;
    head.append(bytes_of(chunk));
    head.append(bytes_of(where));
    return head;
}

NbdReplyHead empty_reply(uint64_t cookie) {
    NbdReplyHead head;
    head.append(bytes_of(chunk_header(cookie, Chunk::none, 0)));
    return head;
}

NbdReplyHead error_reply(uint64_t cookie, ErrorCode error, std::string_view text) {
    return error_head(cookie, Chunk::error, error, text, 0);
}

NbdReplyHead error_offset_reply(uint64_t cookie, ErrorCode error, std::string_view text,
                                uint64_t offset) {
    const be64 where = offset;
    NbdReplyHead head = error_head(cookie, Chunk::error_offset, error, text, sizeof where);
    head.append(bytes_of(where));
    return head;
}

NbdReplyHead block_status_reply(uint64_t cookie, uint32_t context, size_t entries) {
    const be32 id = context;
    NbdReplyHead head;
    head.append(bytes_of(chunk_header(cookie, Chunk::block_status,
                                      sizeof id + entries * sizeof(nbd::BlockStatusEntry))));
    head.append(bytes_of(id));
    return head;
}

std::vector<nbd::BlockStatusEntry> block_status_entries(std::span<const Extent> extents,
                                                        uint32_t length) {
    std::vector<nbd::BlockStatusEntry> entries;
    for (const Extent& extent : extents) {
        const auto covered = static_cast<uint32_t>(std::min<uint64_t>(extent.length, length));
        if (covered == 0) continue;
        length -= covered;
        const uint32_t state = state_of(extent);
        if (!entries.empty() && entries.back().flags == state) {
            entries.back().length = entries.back().length + covered;
        } else {
            nbd::BlockStatusEntry entry;
            entry.length = covered;
            entry.flags = state;
            entries.push_back(entry);
        }
    }
    return entries;
}

}  // namespace gemel::net
