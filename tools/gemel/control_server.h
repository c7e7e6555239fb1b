// SPDX-License-Identifier: Apache-2.0
//
// Answers on a volume's control socket. At most kControlClientsMax clients at a time, each with a
// bounded line and a deadline for each exchange, apart from what the command itself takes: a client
// that stalls or sends garbage costs only its own connection.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "blockdev/env.h"
#include "blockdev/event.h"
#include "blockdev/task.h"
#include "tools/gemel/control_protocol.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

inline constexpr size_t kControlClientsMax = 16;
inline constexpr uint64_t kControlExchangeLimitNs = 5 * kSecond;

class ControlServer {
public:
    // What is behind the commands. Must outlive the server, as `env` must.
    struct Handlers {
        std::function<VolumeStatus()> status;  // Asked anew for every answer.
        std::function<void()> scrub;
        // One of the commands about members. What it answers is why it was refused.
        std::function<Task<std::optional<Problem>>(ControlRequest)> member;
    };
    static Outcome<std::unique_ptr<ControlServer>> start(Env& env, const std::string& socket_path,
                                                         Handlers handlers);
    // Only after stop().
    ~ControlServer();

    // Stops listening, removes the socket and ends all connections. Once.
    Task<void> stop();

    size_t clients() const { return clients_.size(); }

private:
    // One connection; lives in the frame of serve_client.
    struct Client;

    ControlServer(Env& env, std::unique_ptr<Listener> listener, Handlers handlers);
    Task<void> accept_clients();
    Task<void> serve_client(std::unique_ptr<Stream> stream);
    Task<void> exchange_lines(Client& client);
    Task<void> enforce_deadline(Client& client);
    Task<std::string> answer(std::string line) const;

    Env& env_;
    std::unique_ptr<Listener> listener_;
    Handlers handlers_;
    std::list<Client*> clients_;
    Scope scope_;
    bool stopped_ = false;
};

}  // namespace gemel::tools
