// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/connector.h"

#include <sys/eventfd.h>

#include <utility>

#include "blockdev/assert.h"

namespace gemel::tools {
namespace {

// A server may keep a newcomer waiting while it drains the connection before.
constexpr std::chrono::seconds kHandshakeLimit{10};
constexpr int64_t kFirstPauseMs = 50;

}  // namespace

Connector::Connector(NbdPlace place, NbdExport expected, NbdAnnouncement announced)
    : place_(std::move(place)),
      expected_(std::move(expected)),
      announcement_(announced),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      pause_ms_(kFirstPauseMs) {
    CHECK(event_.valid());
    thread_ = std::thread([this] { run(); });
}

Connector::~Connector() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Connector::start() {
    {
        const std::lock_guard lock(mutex_);
        wanted_ = true;
        last_problem_.clear();
    }
    changed_.notify_all();
}

std::optional<Connector::News> Connector::take() {
    eventfd_t ignored = 0;
    static_cast<void>(eventfd_read(event_.get(), &ignored));
    const std::lock_guard lock(mutex_);
    if (!news_) return std::nullopt;
    std::optional<News> taken(std::move(news_));
    news_.reset();
    return taken;
}

void Connector::report(News news) {
    const std::lock_guard lock(mutex_);
    if (news.connection) {
        wanted_ = false;
    } else {
        if (news.problem == last_problem_) return;
        last_problem_ = news.problem;
    }
    news_.reset();
    news_.emplace(std::move(news));
    static_cast<void>(eventfd_write(event_.get(), 1));
}

bool Connector::wait_until_wanted() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || wanted_; });
    return !stopping_;
}

void Connector::attempt() {
    // Each attempt supersedes the one before, which may still be waiting in the server.
    ++announcement_.generation;
    Outcome<NbdConnection> made = connect_nbd(place_, announcement_, kHandshakeLimit);
    if (!made.ok()) {
        report(News{std::nullopt, made.error().text});
        return;
    }
    // Waited for as a server that is away is: the right one may come back.
    const std::string changed = difference(expected_, made.value().exported);
    if (!changed.empty()) {
        report(News{std::nullopt, place_.text + ": the export is another one now: " + changed});
        return;
    }
    report(News{std::move(made).value(), ""});
}

void Connector::run() {
    while (wait_until_wanted()) {
        attempt();
        std::unique_lock lock(mutex_);
        if (!wanted_) continue;
        const std::chrono::milliseconds pause(pause_ms_.load());
        changed_.wait_for(lock, pause, [this] { return stopping_; });
    }
}

}  // namespace gemel::tools
