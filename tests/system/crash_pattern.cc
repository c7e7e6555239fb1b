// SPDX-License-Identifier: Apache-2.0
//
// The content of each version: 8-byte words by their place on the disk, so that a write of any
// alignment is a piece of one endless pattern.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "tests/system/crash_record.h"

namespace gemel::crash {
namespace {

constexpr uint64_t kMagic = 0x4765'6d65ull << 32;  // Above the version in a sector's first word.

uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    return x ^ (x >> 32);
}

uint64_t word(uint64_t seed, Version version, uint64_t number) {
    const uint64_t in_sector = number % (kSector / 8);
    if (in_sector == 0) return kMagic | version;
    if (in_sector == 1) return number / (kSector / 8);
    return mix(seed + version * 0x9e3779b97f4a7c15ull + number * 0xbf58476d1ce4e5b9ull);
}

}  // namespace

void fill_pattern(uint64_t seed, Version version, uint64_t offset, std::span<uint8_t> out) {
    size_t done = 0;
    while (done < out.size()) {
        const uint64_t at = offset + done;
        const uint64_t value = word(seed, version, at / 8);
        const size_t skip = at % 8;
        const size_t length = std::min<size_t>(8 - skip, out.size() - done);
        std::memcpy(out.data() + done, reinterpret_cast<const uint8_t*>(&value) + skip, length);
        done += length;
    }
}

std::string describe_content(uint64_t seed, uint64_t offset, std::span<const uint8_t> content) {
    const bool zero =
        std::all_of(content.begin(), content.end(), [](uint8_t byte) { return byte == 0; });
    if (zero) return "zeroes";
    char text[128];
    if (content.size() < kSector) {
        std::snprintf(text, sizeof text, "the byte 0x%02x", content[0]);
        return text;
    }
    uint64_t head[2];
    std::memcpy(head, content.data(), sizeof head);
    if ((head[0] & ~uint64_t{UINT32_MAX}) != kMagic) return "nothing ever written";
    const Version version = static_cast<Version>(head[0]);
    std::vector<uint8_t> expected(kSector);
    fill_pattern(seed, version, head[1] * kSector, expected);
    const bool whole = std::equal(expected.begin(), expected.end(), content.begin());
    std::snprintf(text, sizeof text, "%swrite %" PRIu32 " of offset %" PRIu64,
                  whole ? "" : "a damaged or torn sector of ", version, head[1] * kSector);
    return head[1] * kSector == offset ? std::string(text)
                                       : std::string(text) + ", in the wrong place";
}

}  // namespace gemel::crash
