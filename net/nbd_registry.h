// SPDX-License-Identifier: Apache-2.0
//
// What the connections of one server share: the device, the bounds, and the knowledge of each other
// that the drain rule needs.
//
// The drain rule: a client that lost its connection sends what was not answered again on a new one.
// Bad: (1) a write of block 7 lies unread in the old socket; (2) the client sends it again on the
// new connection, then a newer write of block 7; both are answered; (3) the old socket is read, and
// the old write lands on top of the newer one. So a new connection may send requests only when all
// connections whose clients had closed by then have no request left, read or unread.
//
// That rule needs to see the close. Over TCP it may come late: the FIN queues behind requests, and
// nobody reads those while the connection is at a bound. A client may announce itself instead: its
// session, and a generation that grows with each of its connections. The announcement cuts the
// session's older connections, so that nothing unread of theirs is ever carried out, and is
// acknowledged only when what was being carried out has ended. The client sends no request before.
// Nobody needs to remember a session without connections: an older one that comes late, from a
// queue of connections not yet accepted, was given up without an acknowledgement, so without any
// request on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockdev/buffer_pool.h"
#include "blockdev/env.h"
#include "net/nbd_budget.h"
#include "net/nbd_handshake.h"
#include "net/nbd_limits.h"

namespace gemel::net {

class NbdConnection;

struct NbdCounters {
    uint64_t connections = 0;        // Now.
    uint64_t connections_total = 0;  // Since the start.
    uint64_t refused = 0;            // For lack of room.
    uint64_t requests = 0;
    uint64_t failed = 0;  // Requests answered with an error.
};

class NbdRegistry {
public:
    NbdRegistry(Env& env, BlockDevice& device, std::string export_name, std::string description);

    void add(NbdConnection& connection);
    void remove(NbdConnection& connection);
    // Some connection has no request left, or has gone.
    void something_ended() { ended_.notify_all(); }
    // Returns once `self` may begin to send requests. False if it has been cut, or if its own
    // client has closed meanwhile: then it must not begin at all, since nobody would wait for it.
    Task<bool> wait_for_closed_peers(NbdConnection& self);
    // Cuts the connections that `self`, by its announcement, supersedes, and returns true once none
    // of their requests is being carried out. False if there is one that supersedes `self`, or if
    // meanwhile `self` has been cut, be it by the limit on handshakes, or closed by its client.
    Task<bool> supersede_older(NbdConnection& self);
    // Cuts those who keep memory from others by not reading or not sending.
    void cut_stalled();

    const std::vector<NbdConnection*>& connections() const { return connections_; }

    Env& env;
    BlockDevice& device;
    NbdExport exported;
    blockdev::BufferPool pool{kNbdPoolKeepBytes};
    NbdBudget budget;
    NbdCounters counters;

private:
    bool any_superseded_has_requests(const NbdAnnouncement& newer) const;

    std::vector<NbdConnection*> connections_;
    Event ended_;
    uint64_t next_id_ = 1;
};

}  // namespace gemel::net
