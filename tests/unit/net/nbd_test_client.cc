// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/net/nbd_test_client.h"

#include <algorithm>
#include <cstring>

namespace gemel::net {

namespace {

template <typename T>
T read_as(const Bytes& bytes, size_t offset = 0) {
    T value{};
    if (bytes.size() >= offset + sizeof value) {
        std::memcpy(&value, bytes.data() + offset, sizeof value);
    }
    return value;
}

void append_text(Bytes& out, const std::string& text) {
    append(out, std::as_bytes(std::span(text)));
}

}  // namespace

void append(Bytes& out, std::span<const std::byte> more) {
    out.insert(out.end(), more.begin(), more.end());
}

Bytes pattern(size_t size, uint64_t seed) {
    Bytes out(size);
    uint64_t state = seed * 2 + 1;
    for (std::byte& byte : out) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        byte = static_cast<std::byte>(state >> 56);
    }
    return out;
}

Bytes info_option_data(const std::string& name, std::vector<uint16_t> infos) {
    Bytes data;
    append(data, bytes_of(be32(static_cast<uint32_t>(name.size()))));
    append_text(data, name);
    append(data, bytes_of(be16(static_cast<uint16_t>(infos.size()))));
    for (uint16_t info : infos) append(data, bytes_of(be16(info)));
    return data;
}

// `session` stands for the whole identifier.
Bytes announcement_data(uint8_t session, uint64_t generation) {
    Bytes data(16, std::byte{session});
    append(data, bytes_of(be64(generation)));
    return data;
}

Bytes meta_option_data(const std::string& name, std::vector<std::string> queries) {
    Bytes data;
    append(data, bytes_of(be32(static_cast<uint32_t>(name.size()))));
    append_text(data, name);
    append(data, bytes_of(be32(static_cast<uint32_t>(queries.size()))));
    for (const std::string& query : queries) {
        append(data, bytes_of(be32(static_cast<uint32_t>(query.size()))));
        append_text(data, query);
    }
    return data;
}

Task<bool> NbdTestClient::connect(Address address) {
    auto connected = co_await env_.connect(std::move(address));
    if (!connected.ok()) co_return false;
    stream_ = std::move(connected).value();
    co_return true;
}

Task<bool> NbdTestClient::greet(Address address) {
    const bool connected = co_await connect(std::move(address));
    if (!connected) co_return false;
    const Bytes greeting = co_await receive(sizeof(nbd::Greeting));
    if (read_as<nbd::Greeting>(greeting).magic != nbd::kGreetingMagic) co_return false;
    Bytes flags;
    append(flags, bytes_of(be32(nbd::kFixedNewstyle | nbd::kNoZeroes)));
    co_return co_await send(std::move(flags));
}

Task<bool> NbdTestClient::start(Address address, Wishes wishes) {
    const bool greeted = co_await greet(std::move(address));
    if (!greeted) co_return false;
    co_return co_await agree(std::move(wishes));
}

Task<bool> NbdTestClient::agree(Wishes wishes) {
    bool good = true;
    if (wishes.structured) {
        good = co_await send(option(static_cast<uint32_t>(nbd::Option::structured_reply)));
        const OptionAnswer answer = co_await option_answer();
        good = good && answer.type == static_cast<uint32_t>(nbd::OptionReply::ack);
    }
    if (good && wishes.structured && wishes.base_allocation) {
        Bytes data = meta_option_data(wishes.name, {"base:allocation"});
        good = co_await send(
            option(static_cast<uint32_t>(nbd::Option::set_meta_context), std::move(data)));
        const OptionAnswer context = co_await option_answer();
        const OptionAnswer ack = co_await option_answer();
        good = good && context.type == static_cast<uint32_t>(nbd::OptionReply::meta_context) &&
               ack.type == static_cast<uint32_t>(nbd::OptionReply::ack);
    }
    if (!good) co_return false;
    Bytes data = info_option_data(wishes.name, {});
    good = co_await send(option(static_cast<uint32_t>(nbd::Option::go), std::move(data)));
    const OptionAnswer info = co_await option_answer();
    const auto exported = read_as<nbd::InfoExport>(info.data);
    size_ = exported.size;
    flags_ = exported.flags;
    const OptionAnswer ack = co_await option_answer();
    co_return good&& ack.type == static_cast<uint32_t>(nbd::OptionReply::ack);
}

Task<bool> NbdTestClient::send(Bytes bytes) {
    const Status status = co_await stream_->send(bytes);
    co_return status.ok();
}

Task<Bytes> NbdTestClient::receive(size_t size) {
    Bytes bytes(size);
    size_t have = 0;
    while (have < size) {
        const auto room = std::span(bytes).subspan(have);
        const Result<size_t> received = co_await stream_->receive(room);
        if (!received.ok() || received.value() == 0) break;
        have += received.value();
    }
    bytes.resize(have);
    co_return bytes;
}

Task<void> NbdTestClient::receive_end() {
    Bytes more = co_await receive(4096);
    while (more.size() == 4096) more = co_await receive(4096);
}

Bytes NbdTestClient::option(uint32_t option, Bytes data) {
    nbd::OptionHeader header;
    header.magic = nbd::kOptionMagic;
    header.option = option;
    header.length = static_cast<uint32_t>(data.size());
    Bytes out;
    append(out, bytes_of(header));
    append(out, data);
    return out;
}

Task<NbdTestClient::OptionAnswer> NbdTestClient::option_answer() {
    const Bytes head = co_await receive(sizeof(nbd::OptionReplyHeader));
    const auto header = read_as<nbd::OptionReplyHeader>(head);
    OptionAnswer answer;
    if (head.size() < sizeof header || header.magic != nbd::kOptionReplyMagic) co_return answer;
    answer.type = header.type;
    answer.data = co_await receive(header.length);
    co_return answer;
}

Bytes NbdTestClient::request(nbd::Command command, uint64_t cookie, uint64_t offset,
                             uint32_t length, uint16_t flags) {
    nbd::RequestHeader header;
    header.magic = nbd::kRequestMagic;
    header.flags = flags;
    header.type = static_cast<uint16_t>(command);
    header.cookie = cookie;
    header.offset = offset;
    header.length = length;
    Bytes out;
    append(out, bytes_of(header));
    return out;
}

Bytes NbdTestClient::write_request(uint64_t cookie, uint64_t offset, Bytes data, uint16_t flags) {
    Bytes out =
        request(nbd::Command::write, cookie, offset, static_cast<uint32_t>(data.size()), flags);
    append(out, data);
    return out;
}

Task<TestReply> NbdTestClient::reply(size_t read_length) {
    TestReply reply;
    Bytes head = co_await receive(sizeof(nbd::SimpleReply));
    if (head.size() < sizeof(nbd::SimpleReply)) {
        reply.ended = true;
        co_return reply;
    }
    if (read_as<be32>(head) == nbd::kSimpleReplyMagic) {
        const auto simple = read_as<nbd::SimpleReply>(head);
        reply.cookie = simple.cookie;
        reply.error = simple.error;
        if (reply.error == 0 && read_length != 0) reply.data = co_await receive(read_length);
        co_return reply;
    }
    const Bytes rest = co_await receive(sizeof(nbd::ChunkHeader) - sizeof(nbd::SimpleReply));
    append(head, rest);
    const auto header = read_as<nbd::ChunkHeader>(head);
    Bytes body = co_await receive(header.length);
    reply.structured = true;
    reply.ended = header.magic != nbd::kStructuredReplyMagic || body.size() != header.length;
    reply.cookie = header.cookie;
    reply.chunk = header.type;
    if (header.type == static_cast<uint16_t>(nbd::Chunk::offset_data)) {
        reply.offset = read_as<be64>(body);
        reply.data.assign(body.begin() + 8, body.end());
    } else if (header.type == static_cast<uint16_t>(nbd::Chunk::block_status)) {
        reply.data.assign(body.begin() + 4, body.end());
    } else if ((header.type & 0x8000) != 0) {
        reply.error = read_as<be32>(body);
        const size_t length = read_as<be16>(body, 4);
        reply.text.assign(reinterpret_cast<const char*>(body.data()) + 6, length);
        reply.offset = read_as<be64>(body, 6 + length);
    }
    co_return reply;
}

Task<TestReply> NbdTestClient::ask(Bytes request, size_t read_length) {
    const bool sent = co_await send(std::move(request));
    TestReply reply;
    reply.ended = true;
    if (sent) reply = co_await this->reply(read_length);
    co_return reply;
}

void NbdTestClient::close() {
    if (stream_ != nullptr) stream_->shutdown();
    stream_.reset();
}

}  // namespace gemel::net
