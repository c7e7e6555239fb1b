// SPDX-License-Identifier: Apache-2.0
//
// The NBD protocol's numbers and structures, big-endian on the wire. What of them we serve is in
// net/README.md; the specification is doc/proto.md of the NetworkBlockDevice project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "blockdev/bytes.h"

namespace gemel::net::nbd {

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

// Flags of the greeting; the client answers with the same bits.
inline constexpr uint16_t kFixedNewstyle = 1 << 0;
inline constexpr uint16_t kNoZeroes = 1 << 1;

enum class Option : uint32_t {
    export_name = 1,
    abort = 2,
    list = 3,
    info = 6,
    go = 7,
    structured_reply = 8,
    list_meta_context = 9,
    set_meta_context = 10,
    // Ours (net/README.md, "Announcing"): "GEM1", far from the numbers that the protocol gives out
    // one after the other.
    announce = 0x47454d31,
};

inline constexpr uint32_t kErrorBit = 1u << 31;
enum class OptionReply : uint32_t {
    ack = 1,
    server = 2,
    info = 3,
    meta_context = 4,
    error_unsupported = kErrorBit | 1,
    error_policy = kErrorBit | 2,
    error_invalid = kErrorBit | 3,
    error_unknown = kErrorBit | 6,
    error_too_big = kErrorBit | 9,
};

enum class Info : uint16_t { exported = 0, name = 1, description = 2, block_size = 3 };

// Transmission flags of an export.
inline constexpr uint16_t kHasFlags = 1 << 0;
inline constexpr uint16_t kReadOnly = 1 << 1;
inline constexpr uint16_t kSendFlush = 1 << 2;
inline constexpr uint16_t kSendFua = 1 << 3;
inline constexpr uint16_t kSendTrim = 1 << 5;
inline constexpr uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr uint16_t kSendDf = 1 << 7;
inline constexpr uint16_t kCanMultiConn = 1 << 8;
inline constexpr uint16_t kSendCache = 1 << 10;
inline constexpr uint16_t kSendFastZero = 1 << 11;

enum class Command : uint16_t {
    read = 0,
    write = 1,
    disconnect = 2,
    flush = 3,
    trim = 4,
    cache = 5,
    write_zeroes = 6,
    block_status = 7,
};

inline constexpr uint16_t kFlagFua = 1 << 0;
inline constexpr uint16_t kFlagNoHole = 1 << 1;
inline constexpr uint16_t kFlagDf = 1 << 2;
inline constexpr uint16_t kFlagReqOne = 1 << 3;
inline constexpr uint16_t kFlagFastZero = 1 << 4;

inline constexpr uint16_t kChunkDone = 1 << 0;
enum class Chunk : uint16_t {
    none = 0,
    offset_data = 1,
    block_status = 5,
    error = (1 << 15) | 1,
    error_offset = (1 << 15) | 2,
};

inline constexpr uint32_t kStateHole = 1 << 0;
inline constexpr uint32_t kStateZero = 1 << 1;

enum class ErrorCode : uint32_t {
    none = 0,
    permission = 1,
    io = 5,
    no_memory = 12,
    invalid = 22,
    no_space = 28,
    overflow = 75,
    unsupported = 95,
    shutdown = 108,
};

struct Greeting {
    be64 magic;
    be64 option_magic;
    be16 flags;
};
static_assert(sizeof(Greeting) == 18);

struct OptionHeader {
    be64 magic;
    be32 option;
    be32 length;
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
    be64 magic;
    be32 option;
    be32 type;
    be32 length;
};
static_assert(sizeof(OptionReplyHeader) == 20);

// What Option::announce brings.
struct Announcement {
    uint8_t session[16];
    be64 generation;
};
static_assert(sizeof(Announcement) == 24 && offsetof(Announcement, generation) == 16);
static_assert(alignof(Announcement) == 1 && std::is_trivially_copyable_v<Announcement>);

// The answer to NBD_OPT_EXPORT_NAME; 124 zero bytes follow unless kNoZeroes was agreed.
struct ExportNameReply {
    be64 size;
    be16 flags;
};
static_assert(sizeof(ExportNameReply) == 10);
inline constexpr size_t kExportNamePadding = 124;

struct InfoExport {
    be16 type;
    be64 size;
    be16 flags;
};
static_assert(sizeof(InfoExport) == 12 && offsetof(InfoExport, size) == 2);

struct InfoBlockSize {
    be16 type;
    be32 minimum;
    be32 preferred;
    be32 maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

struct RequestHeader {
    be32 magic;
    be16 flags;
    be16 type;
    be64 cookie;
    be64 offset;
    be32 length;
};
static_assert(sizeof(RequestHeader) == 28 && offsetof(RequestHeader, offset) == 16);

struct SimpleReply {
    be32 magic;
    be32 error;
    be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct ChunkHeader {
    be32 magic;
    be16 flags;
    be16 type;
    be64 cookie;
    be32 length;  // Of what follows.
};
static_assert(sizeof(ChunkHeader) == 20 && alignof(ChunkHeader) == 1);

struct OffsetDataChunk {
    ChunkHeader header;
    be64 offset;
};
static_assert(sizeof(OffsetDataChunk) == 28);

// The text follows, and the offset after it for Chunk::error_offset.
struct ErrorChunk {
    ChunkHeader header;
    be32 error;
    be16 text_length;
};
static_assert(sizeof(ErrorChunk) == 26);

struct BlockStatusEntry {
    be32 length;
    be32 flags;
};
static_assert(sizeof(BlockStatusEntry) == 8 && std::is_trivially_copyable_v<BlockStatusEntry>);

}  // namespace gemel::net::nbd
