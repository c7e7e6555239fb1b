// SPDX-License-Identifier: Apache-2.0
//
// The client's half of the NBD protocol: fixed newstyle handshake and simple replies, big-endian.
// Structured replies are not asked for: the kernel's client does not speak them either, and a
// block device has no use for what they add.
#pragma once

#include "blockdev/bytes.h"

namespace gemel::tools::wire {

inline constexpr uint64_t kMagic = 0x4e42444d41474943;        // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;

inline constexpr uint16_t kServerFixedNewstyle = 1;
inline constexpr uint16_t kServerNoZeroes = 2;

inline constexpr uint32_t kOptExportName = 1;
inline constexpr uint32_t kOptGo = 7;
inline constexpr uint32_t kOptAnnounce = 0x47454d31;  // Gemel's own: net/README.md, "Announcing".
inline constexpr uint32_t kReplyAck = 1;
inline constexpr uint32_t kReplyInfo = 3;
inline constexpr uint32_t kReplyErrorBit = 1u << 31;
inline constexpr uint32_t kErrorUnsupported = kReplyErrorBit + 1;
inline constexpr uint32_t kErrorPolicy = kReplyErrorBit + 2;
inline constexpr uint32_t kErrorTlsRequired = kReplyErrorBit + 5;
inline constexpr uint32_t kErrorUnknownExport = kReplyErrorBit + 6;
inline constexpr uint16_t kInfoExport = 0;
inline constexpr uint16_t kInfoDescription = 2;
inline constexpr uint16_t kInfoBlockSize = 3;

inline constexpr uint16_t kHasFlags = 1 << 0;
inline constexpr uint16_t kReadOnly = 1 << 1;
inline constexpr uint16_t kSendFlush = 1 << 2;
inline constexpr uint16_t kSendFua = 1 << 3;
inline constexpr uint16_t kSendTrim = 1 << 5;
inline constexpr uint16_t kSendWriteZeroes = 1 << 6;

inline constexpr uint16_t kCommandRead = 0;
inline constexpr uint16_t kCommandWrite = 1;
inline constexpr uint16_t kCommandDisconnect = 2;
inline constexpr uint16_t kCommandFlush = 3;
inline constexpr uint16_t kCommandWriteZeroes = 6;
inline constexpr uint16_t kFlagNoHole = 1 << 1;

inline constexpr uint32_t kErrorShutdown = 108;

struct Greeting {
    be64 magic;
    be64 option_magic;
    be16 flags;
};
static_assert(sizeof(Greeting) == 18);

struct Option {
    be64 magic;
    be32 option;
    be32 length;
};
static_assert(sizeof(Option) == 16);

struct OptionReply {
    be64 magic;
    be32 option;
    be32 type;
    be32 length;
};
static_assert(sizeof(OptionReply) == 20);

struct Announcement {
    uint8_t session[16];
    be64 generation;
};
static_assert(sizeof(Announcement) == 24 && offsetof(Announcement, generation) == 16);

struct InfoExport {
    be16 type;
    be64 size;
    be16 flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
    be16 type;
    be32 minimum;
    be32 preferred;
    be32 maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

struct Request {
    be32 magic;
    be16 flags;
    be16 command;
    be64 cookie;
    be64 offset;
    be32 length;
};
static_assert(sizeof(Request) == 28 && offsetof(Request, cookie) == 8);

struct SimpleReply {
    be32 magic;
    be32 error;
    be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

}  // namespace gemel::tools::wire
