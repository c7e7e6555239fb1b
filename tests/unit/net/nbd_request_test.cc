// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_request.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/unit/net/nbd_test_client.h"

namespace gemel::net {
namespace {

using nbd::Command;
using nbd::ErrorCode;

constexpr uint64_t kSize = 1 << 20;

NbdTerms full_terms() {
    return {.size = kSize,
            .maximum_transfer = 64 << 10,
            .read_only = false,
            .structured_replies = true,
            .block_status = true};
}

Result<NbdRequest> decode(const Bytes& bytes, const NbdTerms& terms) {
    return decode_request(std::span(bytes).first<sizeof(nbd::RequestHeader)>(), terms);
}

ErrorCode verdict(Command command, uint64_t offset, uint32_t length, uint16_t flags = 0,
                  NbdTerms terms = full_terms()) {
    const auto request = decode(NbdTestClient::request(command, 7, offset, length, flags), terms);
    return request.ok() ? request.value().error : ErrorCode::shutdown;
}

TEST(NbdRequest, DecodesTheBytesOfTheSpecification) {
    const uint8_t golden[28] = {0x25, 0x60, 0x95, 0x13,                 // magic
                                0x00, 0x01,                             // flags: FUA
                                0x00, 0x01,                             // type: write
                                1,    2,    3,    4,    5, 6, 7,    8,  // cookie
                                0,    0,    0,    0,    0, 1, 0x10, 0,  // offset
                                0,    0,    0x20, 0};                   // length
    const auto bytes = std::as_bytes(std::span<const uint8_t, 28>(golden));
    const auto request = decode_request(bytes, full_terms());
    ASSERT_TRUE(request.ok());
    EXPECT_EQ(request.value().command, Command::write);
    EXPECT_EQ(request.value().flags, nbd::kFlagFua);
    EXPECT_EQ(request.value().cookie, 0x0102030405060708u);
    EXPECT_EQ(request.value().offset, 0x11000u);
    EXPECT_EQ(request.value().length, 0x2000u);
    EXPECT_EQ(request.value().error, ErrorCode::none);
    EXPECT_TRUE(request.value().has_payload());
}

TEST(NbdRequest, AWrongMagicLosesTheFrame) {
    Bytes bytes = NbdTestClient::request(Command::read, 1, 0, 512);
    bytes[3] ^= std::byte{1};
    EXPECT_FALSE(decode(bytes, full_terms()).ok());
}

TEST(NbdRequest, RangesEndWithTheDevice) {
    EXPECT_EQ(verdict(Command::read, kSize - 1, 1), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, kSize, 0), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, kSize, 1), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::read, UINT64_MAX, 2), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::write, kSize - 1, 2), ErrorCode::no_space);
    EXPECT_EQ(verdict(Command::write_zeroes, UINT64_MAX - 1, UINT32_MAX), ErrorCode::no_space);
    EXPECT_EQ(verdict(Command::trim, kSize - 4096, 8192), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::cache, 0, kSize + 1), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::block_status, 0, kSize + 1), ErrorCode::invalid);
}

TEST(NbdRequest, OnlyTransfersHaveAMaximumLength) {
    EXPECT_EQ(verdict(Command::read, 0, 64 << 10), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, 0, (64 << 10) + 1), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::write, 0, (64 << 10) + 1), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::trim, 0, kSize), ErrorCode::none);
    EXPECT_EQ(verdict(Command::write_zeroes, 0, kSize), ErrorCode::none);
}

TEST(NbdRequest, FlagsBelongToTheirCommands) {
    EXPECT_EQ(verdict(Command::write, 0, 1, nbd::kFlagFua), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, 0, 1, nbd::kFlagFua), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, 0, 1, nbd::kFlagDf), ErrorCode::none);
    EXPECT_EQ(verdict(Command::write, 0, 1, nbd::kFlagDf), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::write, 0, 1, nbd::kFlagNoHole), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::write_zeroes, 0, 1, nbd::kFlagNoHole | nbd::kFlagFastZero),
              ErrorCode::none);
    EXPECT_EQ(verdict(Command::block_status, 0, 1, nbd::kFlagReqOne), ErrorCode::none);
    EXPECT_EQ(verdict(Command::read, 0, 1, 1 << 9), ErrorCode::invalid);
    NbdTerms simple = full_terms();
    simple.structured_replies = false;
    EXPECT_EQ(verdict(Command::read, 0, 1, nbd::kFlagDf, simple), ErrorCode::invalid);
}

TEST(NbdRequest, AReadOnlyExportRefusesWhatChangesIt) {
    NbdTerms terms = full_terms();
    terms.read_only = true;
    for (Command command : {Command::write, Command::trim, Command::write_zeroes}) {
        EXPECT_EQ(verdict(command, 0, 512, 0, terms), ErrorCode::permission);
    }
    EXPECT_EQ(verdict(Command::read, 0, 512, 0, terms), ErrorCode::none);
    EXPECT_EQ(verdict(Command::flush, 0, 0, 0, terms), ErrorCode::none);
}

TEST(NbdRequest, CommandsOutsideTheSubsetAreInvalid) {
    EXPECT_EQ(verdict(static_cast<Command>(8), 0, 0), ErrorCode::invalid);
    EXPECT_EQ(verdict(static_cast<Command>(0xffff), 0, 0), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::flush, 0, 1), ErrorCode::invalid);
    EXPECT_EQ(verdict(Command::block_status, 0, 0), ErrorCode::invalid);
    NbdTerms terms = full_terms();
    terms.block_status = false;
    EXPECT_EQ(verdict(Command::block_status, 0, 512, 0, terms), ErrorCode::invalid);
}

TEST(NbdRequest, ErrorsMapToTheProtocolsCodes) {
    EXPECT_EQ(error_code({Errc::no_space}), ErrorCode::no_space);
    EXPECT_EQ(error_code({Errc::read_only}), ErrorCode::permission);
    EXPECT_EQ(error_code({Errc::permission}), ErrorCode::permission);
    EXPECT_EQ(error_code({Errc::unsupported}), ErrorCode::unsupported);
    EXPECT_EQ(error_code({Errc::closed}), ErrorCode::shutdown);
    EXPECT_EQ(error_code({Errc::invalid}), ErrorCode::invalid);
    EXPECT_EQ(error_code({Errc::io, ENOMEM, ""}), ErrorCode::no_memory);
    EXPECT_EQ(error_code({Errc::io, EOVERFLOW, ""}), ErrorCode::overflow);
    for (Errc code : {Errc::io, Errc::corrupt, Errc::timed_out, Errc::stale, Errc::busy}) {
        EXPECT_EQ(error_code({code}), ErrorCode::io);
    }
}

}  // namespace
}  // namespace gemel::net
