// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_stream.h"

#include <cerrno>

#include "tests/sim/sim_env.h"

namespace gemel::sim {

SimStream::SimStream(SimEnv& process, Connection& connection, size_t end)
    : process_(process), connection_(connection), end_(end) {}

SimStream::~SimStream() {
    if (process_.alive()) shutdown();
}

void SimStream::submit(StreamRequest& request) {
    if (!process_.alive()) return;
    if (request.sending) {
        outgoing().send(process_, request);
    } else {
        incoming().receive(process_, request);
    }
}

void SimStream::shutdown() {
    if (!process_.alive()) return;
    outgoing().end();
    incoming().stop_receiving();
}

SimListener::SimListener(SimEnv& process, Address address)
    : process_(process), address_(std::move(address)), changed_(process) {}

SimListener::~SimListener() {
    if (process_.alive()) close();
}

Outcome<std::unique_ptr<Listener>> SimListener::listen(SimEnv& process, const Address& address) {
    SimNetwork& network = process.world().network();
    Address actual = address;
    if (actual.unix_path.empty() && actual.port == 0) actual.port = network.pick_port();
    std::unique_ptr<SimListener> listener(new SimListener(process, actual));
    if (!process.alive() || !network.bind(actual.text(), *listener)) {
        listener->closed_ = true;
        return Problem{Errc::busy, actual.text() + ": somebody else listens there"};
    }
    return std::unique_ptr<Listener>(std::move(listener));
}

Task<Result<std::unique_ptr<Stream>>> SimListener::accept() {
    while (waiting_.empty() && !closed_) co_await changed_.wait();
    if (closed_) co_return Error{Errc::closed, 0, "accept"};
    std::unique_ptr<Stream> stream = std::move(waiting_.front());
    waiting_.pop_front();
    co_return stream;
}

void SimListener::close() {
    if (closed_) return;
    closed_ = true;
    process_.world().network().unbind(address_.text());
    waiting_.clear();
    changed_.notify_all();
}

void SimListener::offer(std::unique_ptr<Stream> stream) {
    waiting_.push_back(std::move(stream));
    changed_.notify_all();
}

Task<Result<std::unique_ptr<Stream>>> connect_simulated(SimEnv& process, Address address) {
    SimNetwork& network = process.world().network();
    co_await sleep_for(process, network.draw_latency_ns());
    SimListener* listener = network.listener_at(address.text());
    if (listener == nullptr) co_return error_from_errno(ECONNREFUSED, "connect");
    SimEnv& server = listener->process();
    Connection& connection = network.add_connection(process, server, address.text());
    listener->offer(std::make_unique<SimStream>(server, connection, 1));
    co_return std::unique_ptr<Stream>(new SimStream(process, connection, 0));
}

}  // namespace gemel::sim
