// SPDX-License-Identifier: Apache-2.0
//
// A small NBD client that says exactly what a test tells it to, right or wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "net/nbd_protocol.h"

namespace gemel::net {

using Bytes = std::vector<std::byte>;

Bytes pattern(size_t size, uint64_t seed);

struct TestReply {
    bool ended = false;  // The connection ended instead.
    uint64_t cookie = 0;
    uint32_t error = 0;
    uint16_t chunk = 0;  // Type of the structured reply.
    bool structured = false;
    uint64_t offset = 0;  // Of data, or of an error.
    Bytes data;           // Of a read; or the entries of a block status.
    std::string text;     // Of an error.
};

class NbdTestClient {
public:
    explicit NbdTestClient(Env& env) : env_(env) {}
    ~NbdTestClient() { close(); }

    struct Wishes {
        bool structured = true;
        bool base_allocation = true;
        std::string name = "";
    };

    Task<bool> connect(Address address);
    // Connects, reads the greeting, sends the client's flags.
    Task<bool> greet(Address address);
    // All of the handshake with NBD_OPT_GO.
    Task<bool> start(Address address, Wishes wishes);
    // The part of start() that follows greet().
    Task<bool> agree(Wishes wishes);

    Task<bool> send(Bytes bytes);
    // Less than `size` if the stream ended before.
    Task<Bytes> receive(size_t size);
    // Reads on to the end of the stream.
    Task<void> receive_end();

    static Bytes option(uint32_t option, Bytes data = {});
    struct OptionAnswer {
        uint32_t type = 0;
        Bytes data;
    };
    Task<OptionAnswer> option_answer();

    static Bytes request(nbd::Command command, uint64_t cookie, uint64_t offset, uint32_t length,
                         uint16_t flags = 0);
    static Bytes write_request(uint64_t cookie, uint64_t offset, Bytes data, uint16_t flags = 0);
    // For reads `read_length` says how much a simple reply brings along.
    Task<TestReply> reply(size_t read_length = 0);
    // Sends and waits for the one answer.
    Task<TestReply> ask(Bytes request, size_t read_length = 0);

    void close();
    Stream& stream() { return *stream_; }
    uint64_t size() const { return size_; }
    uint16_t flags() const { return flags_; }

private:
    Env& env_;
    std::unique_ptr<Stream> stream_;
    uint64_t size_ = 0;
    uint16_t flags_ = 0;
};

void append(Bytes& out, std::span<const std::byte> more);
Bytes info_option_data(const std::string& name, std::vector<uint16_t> infos);
Bytes announcement_data(uint8_t session, uint64_t generation);
Bytes meta_option_data(const std::string& name, std::vector<std::string> queries);

}  // namespace gemel::net
