// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_reply.h"

#include <gtest/gtest.h>

#include <string>

namespace gemel::net {
namespace {

using nbd::ErrorCode;

std::string hex(std::span<const std::byte> bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (std::byte byte : bytes) {
        out += kDigits[static_cast<unsigned>(byte) >> 4];
        out += kDigits[static_cast<unsigned>(byte) & 15];
    }
    return out;
}

TEST(NbdReply, SimpleRepliesAreSixteenBytes) {
    EXPECT_EQ(hex(simple_reply(0x0102030405060708, ErrorCode::none).bytes()),
              "67446698"
              "00000000"
              "0102030405060708");
    EXPECT_EQ(hex(simple_reply(1, ErrorCode::no_space).bytes()),
              "67446698"
              "0000001c"
              "0000000000000001");
}

TEST(NbdReply, DataChunksCountTheirOffset) {
    EXPECT_EQ(hex(data_reply(5, 0x1122334455667788, 4096).bytes()),
              "668e33ef"
              "0001"
              "0001"
              "0000000000000005"
              "00001008"
              "1122334455667788");
}

TEST(NbdReply, AnEmptyReplyIsOneLastChunk) {
    EXPECT_EQ(hex(empty_reply(9).bytes()),
              "668e33ef"
              "0001"
              "0000"
              "0000000000000009"
              "00000000");
}

TEST(NbdReply, ErrorsCarryATextAndWhereUseful) {
    EXPECT_EQ(hex(error_reply(2, ErrorCode::io, "ab").bytes()),
              "668e33ef"
              "0001"
              "8001"
              "0000000000000002"
              "00000008"
              "00000005"
              "0002"
              "6162");
    EXPECT_EQ(hex(error_offset_reply(2, ErrorCode::io, "ab", 0x10).bytes()),
              "668e33ef"
              "0001"
              "8002"
              "0000000000000002"
              "00000010"
              "00000005"
              "0002"
              "6162"
              "0000000000000010");
}

TEST(NbdReply, ALongTextIsCut) {
    const std::string text(500, 'x');
    EXPECT_EQ(error_reply(2, ErrorCode::io, text).bytes().size(), NbdReplyHead::kBytesMax);
    EXPECT_EQ(error_offset_reply(2, ErrorCode::io, text, 3).bytes().size(),
              NbdReplyHead::kBytesMax);
}

TEST(NbdReply, BlockStatusNamesTheContext) {
    EXPECT_EQ(hex(block_status_reply(3, 1, 2).bytes()),
              "668e33ef"
              "0001"
              "0005"
              "0000000000000003"
              "00000014"
              "00000001");
}

TEST(NbdReply, ExtentsOfOneKindBecomeOneEntry) {
    const Extent extents[] = {{4096, true, true},
                              {4096, true, true},
                              {0, true, false},
                              {8192, false, false},
                              {uint64_t{1} << 40, true, false}};
    const auto entries = block_status_entries(extents, 65536);
    ASSERT_EQ(entries.size(), 3u);
    EXPECT_EQ(entries[0].length.get(), 8192u);
    EXPECT_EQ(entries[0].flags.get(), nbd::kStateHole | nbd::kStateZero);
    EXPECT_EQ(entries[1].length.get(), 8192u);
    EXPECT_EQ(entries[1].flags.get(), 0u);
    // Cut to what was asked for.
    EXPECT_EQ(entries[2].length.get(), 65536u - 16384u);
    EXPECT_EQ(entries[2].flags.get(), nbd::kStateZero);
}

}  // namespace
}  // namespace gemel::net
