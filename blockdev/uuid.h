// SPDX-License-Identifier: Apache-2.0
//
// 128-bit random identifiers: of volumes, members and epochs.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gemel {

struct Uuid {
    std::array<uint8_t, 16> bytes{};

    auto operator<=>(const Uuid&) const = default;
    bool is_nil() const { return *this == Uuid{}; }

    // 8-4-4-4-12 lower-case hexadecimal digits.
    std::string text() const;
    // Nothing unless `text` is exactly of that form (upper case is accepted).
    static std::optional<Uuid> parse(std::string_view text);
};

class Env;
// A random (version 4) one.
Uuid make_uuid(Env& env);

}  // namespace gemel
