// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_options.h"

#include <algorithm>
#include <cstring>

namespace gemel::net {

namespace {

// A name may have 4096 bytes at most, says the protocol.
constexpr size_t kStringBytesMax = 4096;

// Takes fields off the front of a payload. A read beyond the end makes it bad for good and yields
// zeros, so that a parser asks once, at its end.
class Fields {
public:
    explicit Fields(std::span<const std::byte> data) : data_(data) {}

    template <typename T>
    auto number() {
        T value{0};
        const auto bytes = take(sizeof value);
        if (!bytes.empty()) std::memcpy(&value, bytes.data(), sizeof value);
        return value.get();
    }

    std::string_view text() {
        const uint32_t length = number<be32>();
        if (length > kStringBytesMax) bad_ = true;
        const auto bytes = take(length);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    bool bad() const { return bad_; }
    // Everything was there, and nothing more.
    bool complete() const { return !bad_ && data_.empty(); }

private:
    std::span<const std::byte> take(size_t length) {
        if (bad_ || length > data_.size()) {
            bad_ = true;
            return {};
        }
        const auto front = data_.first(length);
        data_ = data_.subspan(length);
        return front;
    }

    std::span<const std::byte> data_;
    bool bad_ = false;
};

}  // namespace

Result<NbdInfoRequest> parse_info_request(std::span<const std::byte> data) {
    Fields fields(data);
    NbdInfoRequest request;
    request.export_name = fields.text();
    const uint16_t count = fields.number<be16>();
    for (uint16_t i = 0; i < count && !fields.bad(); ++i) {
        const auto info = static_cast<nbd::Info>(fields.number<be16>());
        request.wants_name |= info == nbd::Info::name;
        request.wants_description |= info == nbd::Info::description;
        request.wants_block_size |= info == nbd::Info::block_size;
    }
    if (!fields.complete()) return Error{Errc::invalid, 0, "malformed option"};
    return request;
}

Result<NbdMetaQuery> parse_meta_query(std::span<const std::byte> data) {
    Fields fields(data);
    NbdMetaQuery query;
    query.export_name = fields.text();
    const uint32_t count = fields.number<be32>();
    for (uint32_t i = 0; i < count && !fields.bad(); ++i) query.queries.push_back(fields.text());
    if (!fields.complete()) return Error{Errc::invalid, 0, "malformed option"};
    return query;
}

Result<NbdAnnouncement> parse_announcement(std::span<const std::byte> data) {
    nbd::Announcement wire;
    if (data.size() != sizeof wire) return Error{Errc::invalid, 0, "malformed option"};
    std::memcpy(&wire, data.data(), sizeof wire);
    NbdAnnouncement announcement;
    std::ranges::copy(wire.session, announcement.session.begin());
    announcement.generation = wire.generation;
    return announcement;
}

bool selects_allocation(const NbdMetaQuery& query, bool listing) {
    if (listing && query.queries.empty()) return true;
    return std::ranges::any_of(query.queries, [listing](std::string_view text) {
        return text == kBaseAllocation || (listing && text == "base:");
    });
}

}  // namespace gemel::net
