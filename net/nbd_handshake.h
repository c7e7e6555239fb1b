// SPDX-License-Identifier: Apache-2.0
//
// The fixed newstyle handshake as a state machine without I/O: bytes of the client in, bytes for
// the client out. Hostile input ends it or is answered with an error; it never costs more than
// kOptionBytesMax of memory and kOptionsMax rounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockdev/block_device.h"
#include "net/nbd_options.h"
#include "net/nbd_request.h"

namespace gemel::net {

// What is served. It can be had under its name and as the default export "".
struct NbdExport {
    std::string name;
    std::string description;
    Geometry geometry;
};

class NbdHandshake {
public:
    // The longest option that is looked at, and how many of them one client may send.
    static constexpr size_t kOptionBytesMax = 32 << 10;
    static constexpr size_t kOptionsMax = 64;

    enum class Phase {
        client_flags,  // -> options, over
        options,       // -> announced, agreed, over
        announced,     // -> options, over; answer_announcement() goes on.
        agreed,        // Once output() is sent, the transmission phase begins.
        over,          // Once output() is sent, the connection ends; see reason().
    };

    // `exported` outlives it. output() holds the greeting already.
    explicit NbdHandshake(const NbdExport& exported);

    // Takes one whole unit (the flags, or one option) off the front of `input` and returns its
    // length; 0 if more bytes are needed, if an announcement awaits its answer, or if the handshake
    // has ended.
    size_t consume(std::span<const std::byte> input);

    Phase phase() const { return phase_; }
    bool ended() const { return phase_ == Phase::agreed || phase_ == Phase::over; }
    // What the client announced, if it did. Whether it may go on is for the owner to find out, who
    // knows the other connections.
    const std::optional<NbdAnnouncement>& announcement() const { return announcement_; }
    // Ends Phase::announced; `newest`: no connection supersedes this one.
    void answer_announcement(bool newest);
    // Why it is over; a literal, empty if the client just wanted to go.
    const char* reason() const { return reason_; }
    // Valid once agreed.
    const NbdTerms& terms() const { return terms_; }
    // What is to be sent; the caller clears it after sending.
    std::vector<std::byte>& output() { return output_; }

private:
    size_t consume_client_flags(std::span<const std::byte> input);
    size_t consume_option(std::span<const std::byte> input);
    void answer(nbd::Option option, std::span<const std::byte> data);
    void answer_export_name(std::string_view name);
    void answer_list(std::span<const std::byte> data);
    void answer_info(nbd::Option option, std::span<const std::byte> data);
    void answer_meta_context(nbd::Option option, std::span<const std::byte> data);
    void take_announcement(std::span<const std::byte> data);

    void end(const char* reason);
    bool knows(std::string_view name) const;
    uint16_t transmission_flags() const;
    void put(std::span<const std::byte> bytes);
    void put_text(std::string_view text);
    void put_reply(nbd::Option option, nbd::OptionReply type, size_t length);
    void put_error(nbd::Option option, nbd::OptionReply type, std::string_view text);
    void put_infos(nbd::Option option, const NbdInfoRequest& request);

    const NbdExport& export_;
    Phase phase_ = Phase::client_flags;
    const char* reason_ = "";
    NbdTerms terms_;
    bool no_zeroes_ = false;
    size_t options_ = 0;
    std::optional<NbdAnnouncement> announcement_;
    // The export's name as the client gave it when it chose base:allocation: the choice is good
    // for that name only.
    std::string context_export_;
    std::vector<std::byte> output_;
};

}  // namespace gemel::net
