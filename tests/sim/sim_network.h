// SPDX-License-Identifier: Apache-2.0
//
// The simulated network: connections made of two pipes, each with its own delays and a bounded
// window, and the addresses that somebody listens at. Bytes of one pipe keep their order and come
// out cut differently from how they went in; two pipes know nothing of each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "blockdev/stream.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"

namespace gemel::sim {

class SimEnv;
class SimListener;
class SimWorld;

struct NetworkLatency {
    uint64_t base_ns = 30'000;
    uint64_t spread_ns = 120'000;
    uint32_t slow_rate = 1'000;
    uint64_t slow_ns = 40'000'000;
};

// One direction of a connection.
class Pipe final : public Happening {
public:
    explicit Pipe(SimWorld& world) : world_(world) {}

    void send(SimEnv& process, StreamRequest& request);
    void receive(SimEnv& process, StreamRequest& request);
    // Nothing more is sent. A pending send fails; the receiver sees the end behind what was sent.
    void end();
    // The receiver is not interested any more: what comes is dropped, a pending receive gets 0.
    void stop_receiving();
    // The connection breaks: for the receiver when that news arrives, for the sender now.
    void break_off();
    // The process at that end is dead: what it waits for never completes.
    void forget_sender() { sending_ = nullptr; }
    void forget_receiver() { receiving_ = nullptr; }

    bool ended() const { return end_arrived_ || broken_; }
    bool idle() const { return sending_ == nullptr && receiving_ == nullptr; }
    void happen() override;

private:
    struct Arrival {
        uint64_t time_ns = 0;
        std::vector<std::byte> data;  // Empty: the end.
        bool breaks = false;
    };
    static constexpr size_t kWindow = 256 << 10;

    void dispatch(Arrival arrival);
    void pump();
    void serve();
    void finish_send(Status status);
    void finish_receive(Status status, size_t transferred);

    SimWorld& world_;
    std::deque<Arrival> on_the_way_;
    uint64_t last_arrival_ns_ = 0;
    std::deque<std::byte> arrived_;
    size_t unread_ = 0;  // On the way and arrived.
    StreamRequest* sending_ = nullptr;
    SimEnv* sender_ = nullptr;
    size_t sent_ = 0;
    StreamRequest* receiving_ = nullptr;
    SimEnv* receiver_ = nullptr;
    bool send_ended_ = false;
    bool end_arrived_ = false;
    bool broken_ = false;
    bool dropping_ = false;
};

struct Connection {
    explicit Connection(SimWorld& world) : pipes{Pipe(world), Pipe(world)} {}
    std::array<Pipe, 2> pipes;  // pipes[i] carries what end i sends.
    std::array<SimEnv*, 2> processes{};
    std::array<std::string, 2> addresses;
};

class SimNetwork {
public:
    explicit SimNetwork(SimWorld& world) : world_(world) {}

    NetworkLatency latency;
    uint64_t draw_latency_ns();

    bool bind(const std::string& address, SimListener& listener);
    void unbind(const std::string& address);
    SimListener* listener_at(const std::string& address);
    uint16_t pick_port() { return ++last_port_; }
    Connection& add_connection(SimEnv& client, SimEnv& server, const std::string& address);

    // The process is dead: its listeners are gone, its peers see their connections end or break.
    void abandon(SimEnv& process);
    // Breaks every connection of the process, in both directions.
    void cut(SimEnv& process);

private:
    SimWorld& world_;
    std::map<std::string, SimListener*> listeners_;
    std::vector<std::unique_ptr<Connection>> connections_;  // All there ever were.
    uint16_t last_port_ = 40'000;
};

}  // namespace gemel::sim
