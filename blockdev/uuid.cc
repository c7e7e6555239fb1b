// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uuid.h"

#include "blockdev/bytes.h"
#include "blockdev/env.h"

namespace gemel {

namespace {

constexpr std::string_view kDigits = "0123456789abcdef";
constexpr size_t kTextLength = 36;

bool is_dash_position(size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

}  // namespace

std::string Uuid::text() const {
    std::string out;
    for (uint8_t byte : bytes) {
        if (is_dash_position(out.size())) out += '-';
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != kTextLength) return std::nullopt;
    Uuid uuid;
    size_t digits = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        if (is_dash_position(i)) {
            if (text[i] != '-') return std::nullopt;
            continue;
        }
        const char c = text[i] >= 'A' && text[i] <= 'F' ? static_cast<char>(text[i] + 32) : text[i];
        const size_t value = kDigits.find(c);
        if (value == std::string_view::npos) return std::nullopt;
        uint8_t& byte = uuid.bytes[digits / 2];
        byte = static_cast<uint8_t>((byte << 4) | value);
        ++digits;
    }
    return uuid;
}

Uuid make_uuid(Env& env) {
    Uuid uuid;
    fill_random(env, writable_bytes_of(uuid));
    uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
    uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
    return uuid;
}

}  // namespace gemel
