// SPDX-License-Identifier: Apache-2.0
//
// The ends of simulated connections, and what waits for them.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "blockdev/env.h"
#include "blockdev/event.h"
#include "tests/sim/sim_network.h"

namespace gemel::sim {

class SimStream final : public Stream {
public:
    SimStream(SimEnv& process, Connection& connection, size_t end);
    ~SimStream() override;

    void submit(StreamRequest& request) override;
    void shutdown() override;
    bool peer_closed() const override { return incoming().ended(); }
    const std::string& peer() const override { return connection_.addresses[1 - end_]; }

private:
    Pipe& outgoing() const { return connection_.pipes[end_]; }
    Pipe& incoming() const { return connection_.pipes[1 - end_]; }

    SimEnv& process_;
    Connection& connection_;
    size_t end_;
};

class SimListener final : public Listener {
public:
    static Outcome<std::unique_ptr<Listener>> listen(SimEnv& process, const Address& address);
    ~SimListener() override;

    Task<Result<std::unique_ptr<Stream>>> accept() override;
    void close() override;
    const Address& address() const override { return address_; }

    SimEnv& process() { return process_; }
    // A client has come.
    void offer(std::unique_ptr<Stream> stream);

private:
    SimListener(SimEnv& process, Address address);

    SimEnv& process_;
    Address address_;
    std::deque<std::unique_ptr<Stream>> waiting_;
    Event changed_;
    bool closed_ = false;
};

Task<Result<std::unique_ptr<Stream>>> connect_simulated(SimEnv& process, Address address);

}  // namespace gemel::sim
