// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_server.h"

#include <utility>

#include "net/nbd_connection.h"

namespace gemel::net {

namespace {

// After a failed accept (out of descriptors, mostly) the listener rests for so long.
constexpr uint64_t kAcceptPauseNs = 100 * kMillisecond;

}  // namespace

NbdServer::NbdServer(Env& env, BlockDevice& device, std::string export_name,
                     std::string description)
    : env_(env),
      registry_(env, device, std::move(export_name), std::move(description)),
      changed_(env),
      accepting_(env),
      serving_(env) {}

NbdServer::~NbdServer() = default;

void NbdServer::start(std::unique_ptr<Listener> listener) {
    CHECK(!stopping_);
    listeners_.push_back(std::move(listener));
    accepting_.start(accept_from(*listeners_.back()));
}

Task<void> NbdServer::accept_from(Listener& listener) {
    while (!stopping_) {
        auto accepted = co_await listener.accept();
        if (stopping_) break;
        if (!accepted.ok()) {
            env_.log(LogLevel::error, "NBD: " + accepted.error().text());
            co_await sleep_for(env_, kAcceptPauseNs);
            continue;
        }
        if (registry_.counters.connections >= kNbdConnectionsMax) {
            ++registry_.counters.refused;
            env_.log(LogLevel::warning, "NBD client " + accepted.value()->peer() +
                                            ": refused, there are too many connections");
            continue;
        }
        serving_.start(serve(std::move(accepted).value()));
    }
}

Task<void> NbdServer::serve(std::unique_ptr<Stream> stream) {
    NbdConnection connection(registry_, *stream);
    co_await connection.run();
    changed_.notify_all();
}

Task<void> NbdServer::stop(uint64_t deadline_ns) {
    stopping_ = true;
    for (const auto& listener : listeners_) listener->close();
    for (NbdConnection* connection : registry_.connections()) connection->finish();
    Scope watch(env_);
    watch.start(cut_at(deadline_ns));
    co_await accepting_.join();
    co_await serving_.join();
    changed_.notify_all();
    co_await watch.join();
}

Task<void> NbdServer::cut_at(uint64_t deadline_ns) {
    while (serving_.running() != 0) {
        const bool notified = co_await changed_.wait_until(deadline_ns);
        if (notified) continue;
        for (NbdConnection* connection : registry_.connections()) {
            connection->cut("the server stops");
        }
        co_return;
    }
}

}  // namespace gemel::net
