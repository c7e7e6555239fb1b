// SPDX-License-Identifier: Apache-2.0
//
// The payloads of the handshake's options, as pure functions. What they return points into `data`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "blockdev/result.h"
#include "net/nbd_protocol.h"

namespace gemel::net {

// Of NBD_OPT_INFO and NBD_OPT_GO.
struct NbdInfoRequest {
    std::string_view export_name;
    bool wants_name = false;
    bool wants_description = false;
    bool wants_block_size = false;
};
Result<NbdInfoRequest> parse_info_request(std::span<const std::byte> data);

// Of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT.
struct NbdMetaQuery {
    std::string_view export_name;
    std::vector<std::string_view> queries;
};
Result<NbdMetaQuery> parse_meta_query(std::span<const std::byte> data);

// Of Option::announce: whose connection it is, and which of that client's connections in turn.
struct NbdAnnouncement {
    std::array<uint8_t, 16> session{};
    uint64_t generation = 0;

    // The same client made it, and the other one before it.
    bool supersedes(const NbdAnnouncement& other) const {
        return session == other.session && generation > other.generation;
    }
};
Result<NbdAnnouncement> parse_announcement(std::span<const std::byte> data);

// The one context we have.
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr uint32_t kBaseAllocationId = 1;

// Whether base:allocation is among what is asked for. When listing, no query at all asks for
// everything, and "base:" for all of its name space.
bool selects_allocation(const NbdMetaQuery& query, bool listing);

}  // namespace gemel::net
