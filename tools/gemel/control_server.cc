// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/control_server.h"

#include <array>
#include <cstring>

namespace gemel::tools {

namespace {

// When a connection cannot be accepted for lack of descriptors, trying at once again would spin.
constexpr uint64_t kAcceptRetryNs = 100 * kMillisecond;

}  // namespace

struct ControlServer::Client {
    Client(Env& env, std::unique_ptr<Stream> connection)
        : stream(std::move(connection)),
          finished_event(env),
          deadline_ns(env.now_ns() + kControlExchangeLimitNs) {}

    std::unique_ptr<Stream> stream;
    Event finished_event;
    uint64_t deadline_ns;  // Of the exchange that is going on.
    bool finished = false;
    std::array<char, kControlRequestSizeMax> buffer{};
    size_t buffered = 0;
};

Outcome<std::unique_ptr<ControlServer>> ControlServer::start(Env& env,
                                                             const std::string& socket_path,
                                                             Handlers handlers) {
    Address address;
    address.unix_path = socket_path;
    Outcome<std::unique_ptr<Listener>> listener = env.listen(address);
    if (!listener.ok()) return listener.error();
    std::unique_ptr<ControlServer> server(
        new ControlServer(env, std::move(listener.value()), std::move(handlers)));
    server->scope_.start(server->accept_clients());
    return server;
}

ControlServer::ControlServer(Env& env, std::unique_ptr<Listener> listener, Handlers handlers)
    : env_(env), listener_(std::move(listener)), handlers_(std::move(handlers)), scope_(env) {}

ControlServer::~ControlServer() { CHECK(stopped_); }

Task<void> ControlServer::stop() {
    CHECK(!stopped_);
    stopped_ = true;
    listener_->close();
    for (Client* client : clients_) client->stream->shutdown();
    co_await scope_.join();
}

Task<void> ControlServer::accept_clients() {
    while (!stopped_) {
        Result<std::unique_ptr<Stream>> stream = co_await listener_->accept();
        if (stopped_) break;
        if (!stream.ok()) {
            co_await sleep_for(env_, kAcceptRetryNs);
        } else if (clients_.size() < kControlClientsMax) {
            scope_.start(serve_client(std::move(stream.value())));
        }
    }
}

Task<void> ControlServer::serve_client(std::unique_ptr<Stream> stream) {
    Client client(env_, std::move(stream));
    const auto place = clients_.insert(clients_.end(), &client);
    Scope watch(env_);
    watch.start(enforce_deadline(client));
    co_await exchange_lines(client);
    client.finished = true;
    client.finished_event.notify_all();
    co_await watch.join();
    clients_.erase(place);
}

Task<void> ControlServer::exchange_lines(Client& client) {
    while (!stopped_) {
        const std::string_view pending(client.buffer.data(), client.buffered);
        const size_t end = pending.find('\n');
        if (end != std::string_view::npos) {
            client.deadline_ns = UINT64_MAX;
            const std::string line = co_await answer(std::string(pending.substr(0, end)));
            client.deadline_ns = env_.now_ns() + kControlExchangeLimitNs;
            client.finished_event.notify_all();
            const Status sent = co_await client.stream->send(std::as_bytes(std::span(line)));
            if (!sent.ok()) co_return;
            client.buffered -= end + 1;
            std::memmove(client.buffer.data(), client.buffer.data() + end + 1, client.buffered);
            continue;
        }
        const auto room = std::span(client.buffer).subspan(client.buffered);
        if (room.empty()) {
            const std::string line = render_error_answer("the request is too long");
            (void)co_await client.stream->send(std::as_bytes(std::span(line)));
            co_return;
        }
        const Result<size_t> received =
            co_await client.stream->receive(std::as_writable_bytes(room));
        if (!received.ok() || received.value() == 0) co_return;
        client.buffered += received.value();
    }
}

Task<void> ControlServer::enforce_deadline(Client& client) {
    while (!client.finished && env_.now_ns() < client.deadline_ns) {
        (void)co_await client.finished_event.wait_until(client.deadline_ns);
    }
    if (!client.finished) client.stream->shutdown();
}

Task<std::string> ControlServer::answer(std::string line) const {
    const Outcome<ControlRequest> request = parse_control_request(line);
    if (!request.ok()) co_return render_error_answer(request.error().text);
    std::optional<Problem> refused;
    switch (request.value().command) {
        case ControlCommand::status: break;
        case ControlCommand::scrub: handlers_.scrub(); break;
        case ControlCommand::member_offline:
        case ControlCommand::member_online:
        case ControlCommand::member_add:
        case ControlCommand::member_remove:
        case ControlCommand::member_replace:
            refused = co_await handlers_.member(request.value());
            break;
    }
    if (refused) co_return render_error_answer(refused->text);
    co_return render_status_answer(handlers_.status());
}

}  // namespace gemel::tools
