// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_registry.h"

#include <algorithm>
#include <utility>

#include "net/nbd_connection.h"

namespace gemel::net {

namespace {

// How often a connection that waits for others looks whether its own client is still there.
constexpr uint64_t kLookNs = 100 * kMillisecond;

NbdExport make_export(const BlockDevice& device, std::string name, std::string description) {
    NbdExport exported;
    exported.name = std::move(name);
    exported.description = std::move(description);
    exported.geometry = device.geometry();
    exported.geometry.maximum_transfer =
        std::min(exported.geometry.maximum_transfer, kNbdTransferBytesMax);
    return exported;
}

}  // namespace

NbdRegistry::NbdRegistry(Env& environment, BlockDevice& served, std::string export_name,
                         std::string description)
    : env(environment),
      device(served),
      exported(make_export(served, std::move(export_name), std::move(description))),
      budget(environment, kNbdBytesPerServer),
      ended_(environment) {
    budget.on_shortage([](void* self) { static_cast<NbdRegistry*>(self)->cut_stalled(); }, this);
}

void NbdRegistry::add(NbdConnection& connection) {
    connection.set_id(next_id_++);
    connections_.push_back(&connection);
    ++counters.connections;
    ++counters.connections_total;
}

void NbdRegistry::remove(NbdConnection& connection) {
    std::erase(connections_, &connection);
    --counters.connections;
    something_ended();
}

Task<bool> NbdRegistry::wait_for_closed_peers(NbdConnection& self) {
    std::vector<uint64_t> leaving;
    for (const NbdConnection* other : connections_) {
        if (other != &self && other->may_have_requests() && other->peer_closed()) {
            leaving.push_back(other->id());
        }
    }
    const uint64_t grace_end = env.now_ns() + kNbdDrainGraceNs;
    while (!self.is_cut() && !self.peer_closed()) {
        bool any_left = false;
        for (NbdConnection* other : connections_) {
            if (std::ranges::find(leaving, other->id()) == leaving.end()) continue;
            if (!other->may_have_requests()) continue;
            any_left = true;
            // It has sent requests that we do not read, because it does not read our replies: they
            // were never answered, and may be dropped.
            if (env.now_ns() >= grace_end) other->cut("its client closed it and left no end");
        }
        if (!any_left) co_return true;
        co_await ended_.wait_until(env.now_ns() + kLookNs);
    }
    co_return false;
}

bool NbdRegistry::any_superseded_has_requests(const NbdAnnouncement& newer) const {
    return std::ranges::any_of(connections_, [&newer](const NbdConnection* other) {
        return other->announcement() && newer.supersedes(*other->announcement()) &&
               other->may_have_requests();
    });
}

Task<bool> NbdRegistry::supersede_older(NbdConnection& self) {
    CHECK(self.announcement().has_value());
    const NbdAnnouncement mine = *self.announcement();
    for (const NbdConnection* other : connections_) {
        if (other->announcement() && other->announcement()->supersedes(mine)) co_return false;
    }
    for (NbdConnection* other : connections_) {
        if (!other->announcement() || !mine.supersedes(*other->announcement())) continue;
        other->cut("its client has come back on another connection");
    }
    // A still newer one may come meanwhile: it cuts us. An older one is refused, since we are here.
    while (!self.is_cut() && !self.peer_closed()) {
        if (!any_superseded_has_requests(mine)) co_return true;
        co_await ended_.wait_until(env.now_ns() + kLookNs);
    }
    co_return false;
}

void NbdRegistry::cut_stalled() {
    const uint64_t now = env.now_ns();
    for (NbdConnection* connection : connections_) {
        if (connection->waits_for_client(now) < kNbdStallLimitNs) continue;
        connection->cut("its client makes no progress while others wait for memory");
    }
}

}  // namespace gemel::net
