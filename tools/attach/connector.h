// SPDX-License-Identifier: Apache-2.0
//
// A thread that reconnects, so that the daemon's loop never waits for a server's handshake.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "tools/attach/nbd_connect.h"

namespace gemel::tools {

class Connector {
public:
    // What an attempt came to. A connection to something else is closed already and only told of.
    struct News {
        std::optional<NbdConnection> connection;
        std::string problem;
    };

    // Starts the thread; it sleeps until start(). `expected` is what must be found again, and
    // `announced` how the connection before was announced.
    Connector(NbdPlace place, NbdExport expected, NbdAnnouncement announced);
    ~Connector();

    // Becomes readable when there is news.
    int event() const { return event_.get(); }
    // Tries again and again until a connection is there.
    void start();
    // The pause between two attempts.
    void set_pause(std::chrono::milliseconds pause) { pause_ms_ = pause.count(); }
    // The next piece of news. A problem is reported once, until it changes.
    std::optional<News> take();

private:
    void run();
    bool wait_until_wanted();
    void attempt();
    void report(News news);

    const NbdPlace place_;
    const NbdExport expected_;
    NbdAnnouncement announcement_;  // The thread's alone.
    FileDescriptor event_;
    std::atomic<int64_t> pause_ms_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool wanted_ = false;
    bool stopping_ = false;
    std::optional<News> news_;
    std::string last_problem_;
    std::thread thread_;
};

}  // namespace gemel::tools
