// SPDX-License-Identifier: Apache-2.0
//
// One NBD client: handshake, then requests, each carried out by a task of its own, until one side
// ends it. Nothing that a client does touches any other connection.
//
//   handshake -> waiting -> serving -> finishing -> gone
//
// handshake: an announcement waits for the connections that it supersedes. waiting: the drain rule
// (both: nbd_registry.h). finishing: no more requests are read; those in flight
// are carried out, and answered if anybody still listens.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "net/nbd_input.h"
#include "net/nbd_registry.h"
#include "net/nbd_reply_queue.h"

namespace gemel::net {

class NbdConnection {
public:
    NbdConnection(NbdRegistry& registry, Stream& stream);
    ~NbdConnection();
    NbdConnection(const NbdConnection&) = delete;
    NbdConnection& operator=(const NbdConnection&) = delete;

    // The whole life of the connection. Afterwards the stream has no operation pending.
    Task<void> run();

    // Reads no more requests, answers those in flight, then ends.
    void finish();
    // Ends at once; requests that were read are still carried out. `reason` is a literal.
    void cut(const char* reason);

    uint64_t id() const { return id_; }
    void set_id(uint64_t id) { id_ = id; }
    bool is_cut() const { return cut_; }
    bool peer_closed() const { return stream_.peer_closed(); }
    // Empty for clients that announce nothing.
    const std::optional<NbdAnnouncement>& announcement() const { return announcement_; }
    // From the moment it may send requests until the last of them is done.
    bool may_have_requests() const { return phase_ == Phase::serving; }
    // For how long we have been waiting for it to read a reply or to send the rest of a write.
    uint64_t waits_for_client(uint64_t now_ns) const;

private:
    enum class Phase { handshake, waiting, serving, finishing };

    Task<bool> handshake();
    Task<bool> negotiate(NbdHandshake& handshake, std::vector<std::byte>& input);
    Task<bool> announce(NbdHandshake& handshake);
    Task<void> watch_handshake();
    Task<void> watch_finish();

    Task<void> receive_requests();
    Task<bool> fill(size_t wanted);
    Task<bool> discard_payload(size_t length);
    bool payload_is_here(const NbdRequest& request) const;
    void start_write(const NbdRequest& request);
    Task<bool> receive_payload(NbdRequest request);
    Task<bool> receive_large_write(NbdRequest request);
    void begin(Task<void> work);

    Task<void> do_read(NbdRequest request, NbdBuffer buffer);
    Task<void> read_in_parts(NbdRequest request, NbdBuffer buffer, Status whole);
    Task<void> do_write(NbdRequest request, std::span<const std::byte> data, NbdPin pin,
                        NbdBuffer buffer);
    Task<void> do_range(NbdRequest request);
    Task<void> do_block_status(NbdRequest request, NbdBuffer buffer);
    void answer(const NbdRequest& request, const Status& status);
    void refuse(const NbdRequest& request, nbd::ErrorCode error, std::string_view reason);

    bool closing() const { return cut_ || finishing_; }
    void replies_left(size_t replies);
    void log(LogLevel level, std::string_view text);

    NbdRegistry& registry_;
    Env& env_;
    BlockDevice& device_;
    Stream& stream_;
    uint64_t id_ = 0;
    Phase phase_ = Phase::handshake;
    bool cut_ = false;
    bool finishing_ = false;
    bool expects_large_ = false;  // The last write was too large for a chunk.
    std::optional<NbdAnnouncement> announcement_;
    NbdTerms terms_;
    NbdAccount account_;
    std::unique_ptr<NbdInput> input_;  // From the end of the handshake on.
    NbdReplyQueue replies_;
    size_t in_flight_ = 0;           // Requests whose replies have not left yet.
    uint64_t payload_since_ns_ = 0;  // When the last part of a large payload came; 0: none is due.
    Event changed_;
    Scope requests_;
    Scope helpers_;
};

}  // namespace gemel::net
