// SPDX-License-Identifier: Apache-2.0
//
// Failure as a value. `Error` is small and cheap and travels on the data path; `Problem` carries a
// whole sentence for an operator and is used where volumes are created, opened and inspected.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "blockdev/assert.h"

namespace gemel {

// What a caller can act on.
enum class Errc : uint8_t {
    invalid,      // The request itself is wrong (range, alignment, argument).
    not_found,    // No such file, member, volume.
    exists,       // Something is there already.
    no_space,     // The device or file system is full.
    io,           // The device failed.
    corrupt,      // Bytes read do not prove themselves.
    stale,        // Genuine, but not the newest.
    busy,         // In use by somebody else.
    closed,       // The peer or the device has gone away, or we are shutting down.
    timed_out,    // No answer within the deadline.
    unsupported,  // Not offered by this kernel, device, or version.
    read_only,    // Writing is not allowed.
    permission,   // The operating system said no.
};

const char* name(Errc code);

struct Error {
    Errc code = Errc::io;
    int os_errno = 0;        // The errno behind it, 0 if none.
    const char* where = "";  // A literal: what was being done.

    // "where: code (strerror)", for logs.
    std::string text() const;
};

// Translates an errno (positive) into an Error.
Error error_from_errno(int os_errno, const char* where);

// One sentence for an operator: what, where, how to mend it.
struct Problem {
    Errc code = Errc::invalid;
    std::string text;
};

// A value or the reason why there is none. The value is only taken after ok() was asked.
template <typename T, typename E = Error>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(E error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool ok() const { return state_.index() == 0; }
    T& value() & {
        CHECK(ok());
        return std::get<0>(state_);
    }
    const T& value() const& {
        CHECK(ok());
        return std::get<0>(state_);
    }
    T&& value() && {
        CHECK(ok());
        return std::move(std::get<0>(state_));
    }
    const E& error() const {
        CHECK(!ok());
        return std::get<1>(state_);
    }

private:
    std::variant<T, E> state_;
};

template <typename E>
class [[nodiscard]] Result<void, E> {
public:
    Result() = default;
    Result(E error) : error_(std::move(error)) {}
    static Result success() { return Result(); }

    bool ok() const { return !error_.has_value(); }
    const E& error() const {
        CHECK(!ok());
        return *error_;
    }

private:
    std::optional<E> error_;
};

using Status = Result<void>;
template <typename T>
using Outcome = Result<T, Problem>;  // For operations that answer to an operator.

}  // namespace gemel
