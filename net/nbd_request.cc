// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_request.h"

#include <cerrno>
#include <cstring>

namespace gemel::net {

namespace {

using nbd::Command;
using nbd::ErrorCode;

struct Verdict {
    ErrorCode error = ErrorCode::none;
    const char* reason = "";
};

// FUA is allowed everywhere, as the protocol wants it; it means nothing where nothing is written.
uint16_t allowed_flags(Command command, const NbdTerms& terms) {
    switch (command) {
        case Command::read:
            return static_cast<uint16_t>(nbd::kFlagFua |
                                         (terms.structured_replies ? nbd::kFlagDf : 0));
        case Command::write_zeroes: return nbd::kFlagFua | nbd::kFlagNoHole | nbd::kFlagFastZero;
        case Command::block_status: return nbd::kFlagFua | nbd::kFlagReqOne;
        default: return nbd::kFlagFua;
    }
}

bool is_known(Command command) { return command <= Command::block_status; }

bool modifies(Command command) {
    return command == Command::write || command == Command::trim ||
           command == Command::write_zeroes;
}

Verdict judge(const NbdRequest& request, const NbdTerms& terms) {
    const Command command = request.command;
    if (!is_known(command)) return {ErrorCode::invalid, "unknown command"};
    if ((request.flags & ~allowed_flags(command, terms)) != 0) {
        return {ErrorCode::invalid, "unknown command flag"};
    }
    if (command == Command::disconnect) return {};
    if (command == Command::flush) {
        if (request.offset == 0 && request.length == 0) return {};
        return {ErrorCode::invalid, "flush takes no range"};
    }
    if (terms.read_only && modifies(command)) {
        return {ErrorCode::permission, "the export is read-only"};
    }
    const bool is_transfer = command == Command::read || command == Command::write;
    if (is_transfer && request.length > terms.maximum_transfer) {
        return {ErrorCode::invalid, "the request is larger than the maximum block size"};
    }
    if (request.offset > terms.size || request.length > terms.size - request.offset) {
        const bool grows = command == Command::write || command == Command::write_zeroes;
        return {grows ? ErrorCode::no_space : ErrorCode::invalid,
                "the range lies outside the device"};
    }
    if (command == Command::block_status) {
        if (!terms.block_status) return {ErrorCode::invalid, "no meta context was negotiated"};
        if (request.length == 0) return {ErrorCode::invalid, "the range is empty"};
    }
    return {};
}

}  // namespace

Result<NbdRequest> decode_request(std::span<const std::byte, sizeof(nbd::RequestHeader)> bytes,
                                  const NbdTerms& terms) {
    nbd::RequestHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.magic != nbd::kRequestMagic) {
        return Error{Errc::corrupt, 0, "no request where one must begin"};
    }
    NbdRequest request;
    request.command = static_cast<Command>(header.type.get());
    request.flags = header.flags;
    request.cookie = header.cookie;
    request.offset = header.offset;
    request.length = header.length;
    const Verdict verdict = judge(request, terms);
    request.error = verdict.error;
    request.reason = verdict.reason;
    return request;
}

nbd::ErrorCode error_code(const Error& error) {
    if (error.os_errno == ENOMEM) return ErrorCode::no_memory;
    if (error.os_errno == EOVERFLOW) return ErrorCode::overflow;
    switch (error.code) {
        case Errc::invalid: return ErrorCode::invalid;
        case Errc::no_space: return ErrorCode::no_space;
        case Errc::unsupported: return ErrorCode::unsupported;
        case Errc::read_only:
        case Errc::permission: return ErrorCode::permission;
        case Errc::closed: return ErrorCode::shutdown;
        case Errc::not_found:
        case Errc::exists:
        case Errc::io:
        case Errc::corrupt:
        case Errc::stale:
        case Errc::busy:
        case Errc::timed_out: return ErrorCode::io;
    }
    return ErrorCode::io;
}

}  // namespace gemel::net
