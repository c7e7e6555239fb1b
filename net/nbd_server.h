// SPDX-License-Identifier: Apache-2.0
//
// NbdServer: serves one block device to any number of NBD clients, on any number of listeners.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blockdev/block_device.h"
#include "blockdev/env.h"
#include "net/nbd_registry.h"

namespace gemel::net {

class NbdServer {
public:
    // `env` and `device` outlive it. The device can be had as `export_name` and as "". Clients take
    // an export with another `description` for another device.
    NbdServer(Env& env, BlockDevice& device, std::string export_name, std::string description);
    // Only after stop() has ended, or if start() was never called.
    ~NbdServer();
    NbdServer(const NbdServer&) = delete;
    NbdServer& operator=(const NbdServer&) = delete;

    // Accepts clients from `listener` until stop().
    void start(std::unique_ptr<Listener> listener);
    // Accepts nobody any more and reads no more requests; those in flight are carried out and
    // answered. Connections that have not ended at `deadline_ns` (of the loop's clock) are cut.
    // Ends when the device has completed every request.
    Task<void> stop(uint64_t deadline_ns);

    const NbdCounters& counters() const { return registry_.counters; }
    // Memory charged to the connections' budget now.
    uint64_t buffer_bytes() const { return registry_.budget.used_bytes(); }

private:
    Task<void> accept_from(Listener& listener);
    Task<void> serve(std::unique_ptr<Stream> stream);
    Task<void> cut_at(uint64_t deadline_ns);

    Env& env_;
    NbdRegistry registry_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    bool stopping_ = false;
    Event changed_;
    Scope accepting_;
    Scope serving_;
};

}  // namespace gemel::net
