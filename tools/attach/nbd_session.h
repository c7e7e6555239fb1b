// SPDX-License-Identifier: Apache-2.0
//
// An NBD export that outlives its server: requests wait for a server that has gone away, for a
// bounded time, and are sent again to the one that comes back.
#pragma once

#include <poll.h>

#include <chrono>
#include <optional>
#include <vector>

#include "tools/attach/connector.h"
#include "tools/attach/daemon_log.h"
#include "tools/attach/nbd_link.h"

namespace gemel::tools {

class NbdSession {
public:
    using Clock = std::chrono::steady_clock;
    struct Limits {
        uint32_t requests_max;
        uint32_t read_bytes_max;
        std::chrono::milliseconds timeout;  // How long an outage is waited out.
    };

    NbdSession(NbdPlace place, NbdConnection first, Limits limits, DaemonLog& log);

    // Queues a request; it is sent by the next turn. While the server has been away for longer
    // than the timeout, the request fails with EIO at once.
    void submit(NbdRequest& request);

    // For the owner's poll: what to wait for, until when, and the turn after it.
    void add_polls(std::vector<pollfd>& polls) const;
    std::optional<Clock::time_point> deadline() const { return deadline_; }
    void turn(const std::vector<pollfd>& polls);

    // The device is going away: once `grace` has passed without any answer, everything fails with
    // EIO. Bounds a flush to a server that hangs or is gone.
    void finish_within(std::chrono::milliseconds grace);
    // The device stays after all.
    void carry_on();
    // Tells the server good-bye. Nothing may be submitted afterwards.
    void close();

    bool connected() const { return link_.connected(); }

private:
    // waiting: no connection, requests wait. failing: no connection, requests fail.
    // over: as failing, and nothing is done to end it.
    enum class State { connected, waiting, failing, over };

    void receive();
    void lose();
    void hear(Connector::News news);
    void come_back(NbdConnection connection);
    void give_up(const std::string& why);
    void send();

    DaemonLog& log_;
    const std::chrono::milliseconds timeout_;
    NbdLink link_;
    Connector connector_;
    State state_ = State::connected;
    Clock::time_point lost_at_{};
    // An outage ends with the first answer, not with a connection: a server that dies of what it
    // is sent again must not keep requests waiting for ever.
    bool outage_over_ = true;
    std::optional<Clock::time_point> deadline_;
    bool finishing_ = false;
    std::chrono::milliseconds grace_{0};
};

}  // namespace gemel::tools
