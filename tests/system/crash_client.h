// SPDX-License-Identifier: Apache-2.0
//
// Several connections to one NBD server with many requests in flight on each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

struct nbd_handle;

namespace gemel::crash {

class Client {
public:
    static constexpr int kUnanswered = -1;
    // A request ended: error is 0, the errno that the server sent, or kUnanswered because its
    // connection died first.
    struct Completion {
        size_t tag = 0;
        int error = 0;
    };

    Client() = default;
    ~Client() { close(); }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // False if the server is not there, or went away meanwhile.
    bool connect(const std::string& uri, size_t connections);
    void close();
    uint64_t size() const;

    // The buffers stay untouched until poll() has returned the tag.
    void read(size_t tag, std::span<uint8_t> into, uint64_t offset);
    void write(size_t tag, std::span<const uint8_t> from, uint64_t offset, bool fua);
    void zero(size_t tag, uint64_t offset, uint64_t length, bool no_hole);
    void trim(size_t tag, uint64_t offset, uint64_t length);
    void flush(size_t tag);

    // Waits for progress and hands out what has ended.
    std::vector<Completion> poll(int timeout_ms);
    // No connection can bring an answer any more.
    bool all_dead() const;

    // One read alone; false if its connection died. Throws if the server answered an error.
    bool read_now(std::span<uint8_t> into, uint64_t offset);

private:
    nbd_handle* next_handle() { return handles_[turn_++ % handles_.size()]; }
    void sent(size_t tag, nbd_handle* handle, int64_t cookie);

    std::vector<nbd_handle*> handles_;
    size_t turn_ = 0;
    std::vector<Completion> ended_;
};

}  // namespace gemel::crash
