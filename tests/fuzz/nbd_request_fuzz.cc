// SPDX-License-Identifier: Apache-2.0
//
// The request decoder: what it lets through is within the device and within the terms.
#include <cstddef>
#include <cstdint>

#include "blockdev/assert.h"
#include "net/nbd_reply.h"
#include "net/nbd_request.h"

namespace {

using namespace gemel;
using namespace gemel::net;
using nbd::Command;
using nbd::ErrorCode;

void check_accepted(const NbdRequest& request, const NbdTerms& terms) {
    CHECK(request.command <= Command::block_status);
    const bool has_range =
        request.command != Command::flush && request.command != Command::disconnect;
    if (has_range) CHECK(request.offset <= terms.size);
    if (has_range) CHECK(request.length <= terms.size - request.offset);
    const bool writes = request.command == Command::write || request.command == Command::trim ||
                        request.command == Command::write_zeroes;
    if (writes) CHECK(!terms.read_only);
    if (request.command == Command::read) CHECK(request.length <= terms.maximum_transfer);
    if (request.command == Command::write) CHECK(request.length <= terms.maximum_transfer);
    if (request.command == Command::block_status) CHECK(terms.block_status);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    constexpr size_t kHead = sizeof(nbd::RequestHeader);
    if (size < kHead + 1) return 0;
    NbdTerms terms;
    terms.size = uint64_t{1} << (data[0] % 64);
    terms.maximum_transfer = 32u << 20;
    terms.read_only = (data[0] & 64) != 0;
    terms.structured_replies = (data[0] & 128) != 0;
    terms.block_status = terms.structured_replies && data[0] % 3 == 0;
    const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
    const auto request = decode_request(bytes.first<kHead>(), terms);
    if (!request.ok()) return 0;
    if (request.value().error == ErrorCode::none) check_accepted(request.value(), terms);
    if (request.value().error != ErrorCode::none) CHECK(*request.value().reason != '\0');
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const NbdReplyHead head =
        error_offset_reply(request.value().cookie, ErrorCode::io, text, request.value().offset);
    CHECK(head.bytes().size() <= NbdReplyHead::kBytesMax);
    return 0;
}
