// SPDX-License-Identifier: Apache-2.0
//
// The words of damage done on purpose: where it may fall, of which kind it is, what was done.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace gemel::blockdev {

enum class Structure : uint8_t { data, checksum, index, log, superblock };
inline constexpr size_t kStructures = 5;

enum class DamageKind : uint8_t {
    flip,     // One bit.
    zero,     // The block reads as zeros.
    garbage,  // Random bytes.
    swap,     // Two blocks of one structure exchanged: a misdirected write.
    stale,    // An older version put back: a lost write.
    torn,     // Only the first sectors are what they were: a write cut short.
};
inline constexpr size_t kDamageKinds = 6;

const char* name(Structure structure);
const char* name(DamageKind kind);
// Nothing if `text` is not such a name.
std::optional<Structure> parse_structure(std::string_view text);
std::optional<DamageKind> parse_damage_kind(std::string_view text);

// One block of 4 KiB on a member, in terms of the structure it belongs to.
struct Place {
    Structure structure = Structure::data;
    uint8_t level = 0;             // Of an index page: 1 or 2.
    uint8_t slot = 0;              // Of an index or checksum page.
    bool is_batch_header = false;  // Of a block in the log; else it is payload.
    uint64_t offset = 0;           // On the member, in bytes.
    // data: which block of the volume; checksum, index: which page of its level; log: the first
    // sequence number of its batch; superblock: 0 for copy A, 1 for copy B.
    uint64_t number = 0;

    bool operator==(const Place&) const = default;
};

struct Damage {
    DamageKind kind = DamageKind::flip;
    Place place;
    uint64_t event = 0;   // Counted from 1. Those of one event were done together.
    uint64_t offset = 0;  // The bytes that were overwritten, within the place.
    uint64_t length = 0;
    std::optional<Place> partner;  // Of a swap: as damaged as `place`.
    std::optional<uint8_t> bit;    // Of a flip: of the one byte, 0 is the lowest.
};

}  // namespace gemel::blockdev
