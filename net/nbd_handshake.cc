// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_handshake.h"

#include <cstring>

#include "blockdev/assert.h"

namespace gemel::net {

using nbd::Option;
using nbd::OptionReply;

NbdHandshake::NbdHandshake(const NbdExport& exported) : export_(exported) {
    terms_.size = exported.geometry.size;
    terms_.maximum_transfer = exported.geometry.maximum_transfer;
    terms_.read_only = exported.geometry.read_only;
    nbd::Greeting greeting;
    greeting.magic = nbd::kGreetingMagic;
    greeting.option_magic = nbd::kOptionMagic;
    greeting.flags = nbd::kFixedNewstyle | nbd::kNoZeroes;
    put(bytes_of(greeting));
}

size_t NbdHandshake::consume(std::span<const std::byte> input) {
    switch (phase_) {
        case Phase::client_flags: return consume_client_flags(input);
        case Phase::options: return consume_option(input);
        case Phase::announced:
        case Phase::agreed:
        case Phase::over: return 0;
    }
    return 0;
}

size_t NbdHandshake::consume_client_flags(std::span<const std::byte> input) {
    be32 flags;
    if (input.size() < sizeof flags) return 0;
    std::memcpy(&flags, input.data(), sizeof flags);
    if ((flags & ~(uint32_t{nbd::kFixedNewstyle} | nbd::kNoZeroes)) != 0) {
        end("unknown flags in the greeting");
        return sizeof flags;
    }
    no_zeroes_ = (flags & nbd::kNoZeroes) != 0;
    phase_ = Phase::options;
    return sizeof flags;
}

size_t NbdHandshake::consume_option(std::span<const std::byte> input) {
    nbd::OptionHeader header;
    if (input.size() < sizeof header) return 0;
    std::memcpy(&header, input.data(), sizeof header);
    const auto option = static_cast<Option>(header.option.get());
    if (header.magic != nbd::kOptionMagic) {
        end("no option where one must begin");
        return sizeof header;
    }
    if (header.length > kOptionBytesMax) {
        put_error(option, OptionReply::error_too_big, "the option is too long");
        end("an option is too long");
        return sizeof header;
    }
    if (input.size() < sizeof header + header.length) return 0;
    if (++options_ > kOptionsMax) {
        end("too many options");
    } else {
        answer(option, input.subspan(sizeof header, header.length));
    }
    return sizeof header + header.length;
}

void NbdHandshake::answer(Option option, std::span<const std::byte> data) {
    switch (option) {
        case Option::export_name:
            return answer_export_name({reinterpret_cast<const char*>(data.data()), data.size()});
        case Option::abort: put_reply(option, OptionReply::ack, 0); return end("");
        case Option::list: return answer_list(data);
        case Option::info:
        case Option::go: return answer_info(option, data);
        case Option::structured_reply:
            if (!data.empty()) {
                return put_error(option, OptionReply::error_invalid, "this option takes no data");
            }
            terms_.structured_replies = true;
            return put_reply(option, OptionReply::ack, 0);
        case Option::list_meta_context:
        case Option::set_meta_context: return answer_meta_context(option, data);
        case Option::announce: return take_announcement(data);
    }
    put_error(option, OptionReply::error_unsupported, "this option is not supported");
}

// This old option has no way to say no but to hang up.
void NbdHandshake::answer_export_name(std::string_view name) {
    if (!knows(name)) return end("unknown export name");
    terms_.block_status = terms_.block_status && context_export_ == name;
    nbd::ExportNameReply reply;
    reply.size = terms_.size;
    reply.flags = transmission_flags();
    put(bytes_of(reply));
    if (!no_zeroes_) output_.resize(output_.size() + nbd::kExportNamePadding);
    phase_ = Phase::agreed;
}

void NbdHandshake::answer_list(std::span<const std::byte> data) {
    if (!data.empty()) {
        return put_error(Option::list, OptionReply::error_invalid, "this option takes no data");
    }
    const be32 length = static_cast<uint32_t>(export_.name.size());
    put_reply(Option::list, OptionReply::server, sizeof length + export_.name.size());
    put(bytes_of(length));
    put_text(export_.name);
    put_reply(Option::list, OptionReply::ack, 0);
}

void NbdHandshake::answer_info(Option option, std::span<const std::byte> data) {
    const auto request = parse_info_request(data);
    if (!request.ok()) {
        return put_error(option, OptionReply::error_invalid, request.error().where);
    }
    const std::string_view name = request.value().export_name;
    if (!knows(name)) {
        return put_error(option, OptionReply::error_unknown,
                         "there is no such export here; try \"" + export_.name + "\"");
    }
    put_infos(option, request.value());
    put_reply(option, OptionReply::ack, 0);
    if (option == Option::info) return;
    terms_.block_status = terms_.block_status && context_export_ == name;
    phase_ = Phase::agreed;
}

void NbdHandshake::put_infos(Option option, const NbdInfoRequest& request) {
    nbd::InfoExport info;
    info.type = static_cast<uint16_t>(nbd::Info::exported);
    info.size = terms_.size;
    info.flags = transmission_flags();
    put_reply(option, OptionReply::info, sizeof info);
    put(bytes_of(info));
    if (request.wants_name) {
        const be16 type = static_cast<uint16_t>(nbd::Info::name);
        put_reply(option, OptionReply::info, sizeof type + export_.name.size());
        put(bytes_of(type));
        put_text(export_.name);
    }
    if (request.wants_description) {
        const be16 type = static_cast<uint16_t>(nbd::Info::description);
        put_reply(option, OptionReply::info, sizeof type + export_.description.size());
        put(bytes_of(type));
        put_text(export_.description);
    }
    if (request.wants_block_size) {
        nbd::InfoBlockSize block;
        block.type = static_cast<uint16_t>(nbd::Info::block_size);
        block.minimum = export_.geometry.minimum_block;
        block.preferred = export_.geometry.preferred_block;
        block.maximum = terms_.maximum_transfer;
        put_reply(option, OptionReply::info, sizeof block);
        put(bytes_of(block));
    }
}

void NbdHandshake::answer_meta_context(Option option, std::span<const std::byte> data) {
    const bool listing = option == Option::list_meta_context;
    // Whatever comes of it, setting forgets what was set before.
    if (!listing) terms_.block_status = false;
    if (!terms_.structured_replies) {
        return put_error(option, OptionReply::error_invalid, "ask for structured replies first");
    }
    const auto query = parse_meta_query(data);
    if (!query.ok()) return put_error(option, OptionReply::error_invalid, query.error().where);
    if (!knows(query.value().export_name)) {
        return put_error(option, OptionReply::error_unknown, "there is no such export here");
    }
    if (selects_allocation(query.value(), listing)) {
        const be32 id = listing ? 0 : kBaseAllocationId;
        put_reply(option, OptionReply::meta_context, sizeof id + kBaseAllocation.size());
        put(bytes_of(id));
        put_text(kBaseAllocation);
        if (!listing) {
            terms_.block_status = true;
            context_export_ = query.value().export_name;
        }
    }
    put_reply(option, OptionReply::ack, 0);
}

void NbdHandshake::take_announcement(std::span<const std::byte> data) {
    const auto announcement = parse_announcement(data);
    if (!announcement.ok()) {
        return put_error(Option::announce, OptionReply::error_invalid, announcement.error().where);
    }
    // With a second one, others would have to ask which of them it is known by.
    if (announcement_) {
        return put_error(Option::announce, OptionReply::error_invalid, "announced already");
    }
    announcement_ = announcement.value();
    phase_ = Phase::announced;
}

void NbdHandshake::answer_announcement(bool newest) {
    CHECK(phase_ == Phase::announced);
    if (newest) {
        phase_ = Phase::options;
        return put_reply(Option::announce, OptionReply::ack, 0);
    }
    put_error(Option::announce, OptionReply::error_policy, "a newer connection is there already");
    end("its client has a newer connection");
}

void NbdHandshake::end(const char* reason) {
    CHECK(!ended());
    phase_ = Phase::over;
    reason_ = reason;
}

bool NbdHandshake::knows(std::string_view name) const {
    return name.empty() || name == export_.name;
}

uint16_t NbdHandshake::transmission_flags() const {
    uint16_t flags =
        nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kCanMultiConn | nbd::kSendCache;
    flags |= terms_.read_only ? nbd::kReadOnly
                              : nbd::kSendTrim | nbd::kSendWriteZeroes | nbd::kSendFastZero;
    if (terms_.structured_replies) flags |= nbd::kSendDf;
    return flags;
}

void NbdHandshake::put(std::span<const std::byte> bytes) {
    output_.insert(output_.end(), bytes.begin(), bytes.end());
}

void NbdHandshake::put_text(std::string_view text) { put(std::as_bytes(std::span(text))); }

void NbdHandshake::put_reply(Option option, OptionReply type, size_t length) {
    nbd::OptionReplyHeader header;
    header.magic = nbd::kOptionReplyMagic;
    header.option = static_cast<uint32_t>(option);
    header.type = static_cast<uint32_t>(type);
    header.length = static_cast<uint32_t>(length);
    put(bytes_of(header));
}

void NbdHandshake::put_error(Option option, OptionReply type, std::string_view text) {
    put_reply(option, type, text.size());
    put_text(text);
}

}  // namespace gemel::net
