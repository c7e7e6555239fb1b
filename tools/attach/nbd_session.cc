// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_session.h"

#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

namespace gemel::tools {
namespace {

constexpr std::chrono::milliseconds kPauseWhileWaiting{50};
constexpr std::chrono::milliseconds kPauseAfterGivingUp{500};

std::string seconds_text(NbdSession::Clock::duration time) {
    const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(time).count() / 100;
    return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

NbdSession::NbdSession(NbdPlace place, NbdConnection first, Limits limits, DaemonLog& log)
    : log_(log),
      timeout_(limits.timeout),
      link_(limits.requests_max, limits.read_bytes_max),
      connector_(std::move(place), first.exported, first.announced) {
    link_.connect(std::move(first.socket));
}

void NbdSession::submit(NbdRequest& request) {
    if (state_ == State::failing || state_ == State::over) {
        request.done(EIO, {});
        return;
    }
    link_.submit(request);
}

void NbdSession::add_polls(std::vector<pollfd>& polls) const {
    polls.push_back(pollfd{connector_.event(), POLLIN, 0});
    if (!link_.connected()) return;
    const short events = static_cast<short>(POLLIN | (link_.wants_to_send() ? POLLOUT : 0));
    polls.push_back(pollfd{link_.socket(), events, 0});
}

void NbdSession::turn(const std::vector<pollfd>& polls) {
    for (const pollfd& each : polls) {
        if (each.revents == 0) continue;
        if (each.fd == connector_.event()) {
            if (std::optional<Connector::News> news = connector_.take()) hear(std::move(*news));
        } else if (each.fd == link_.socket()) {
            receive();
        }
    }
    send();
    if (deadline_ && Clock::now() >= *deadline_) {
        deadline_.reset();
        const std::string after = seconds_text(Clock::now() - lost_at_);
        give_up(finishing_ ? "no answer while detaching" : "the server is away since " + after);
    }
}

void NbdSession::receive() {
    const uint64_t answers_before = link_.answers();
    const bool usable = link_.receive();
    if (link_.answers() > answers_before) {
        outage_over_ = true;
        deadline_.reset();
        // A flush may have gigabytes before it: it takes as long as the server makes progress.
        if (finishing_) deadline_ = Clock::now() + grace_;
    }
    if (!usable) lose();
}

void NbdSession::send() {
    if (!link_.send()) lose();
}

void NbdSession::lose() {
    log_.say("connection lost: " + link_.why() + "; " + std::to_string(link_.unanswered()) +
             " requests wait");
    // Closed before the connector begins: see nbd_link.h.
    link_.disconnect();
    state_ = State::waiting;
    if (outage_over_) {
        outage_over_ = false;
        lost_at_ = Clock::now();
        if (!finishing_) deadline_ = lost_at_ + timeout_;
    }
    connector_.set_pause(kPauseWhileWaiting);
    connector_.start();
}

void NbdSession::hear(Connector::News news) {
    if (news.connection) {
        come_back(std::move(*news.connection));
        return;
    }
    log_.say(news.problem);
}

void NbdSession::come_back(NbdConnection connection) {
    if (state_ == State::over) return;
    log_.say("connected again after " + seconds_text(Clock::now() - lost_at_) + ", sending " +
             std::to_string(link_.unanswered()) + " requests again");
    link_.connect(std::move(connection.socket));
    state_ = State::connected;
    if (link_.idle()) {
        outage_over_ = true;
        if (!finishing_) deadline_.reset();
    }
}

void NbdSession::give_up(const std::string& why) {
    log_.say(why + ": " + std::to_string(link_.unanswered()) + " requests fail with EIO" +
             (finishing_ ? "" : ", later ones as well until it is back"));
    const bool was_connected = link_.connected();
    link_.disconnect();
    deadline_.reset();
    state_ = finishing_ ? State::over : State::failing;
    connector_.set_pause(kPauseAfterGivingUp);
    // From now on an outage is over only with an answer, as after any other loss.
    if (was_connected && !finishing_) connector_.start();
    link_.fail_all(EIO);
}

void NbdSession::finish_within(std::chrono::milliseconds grace) {
    finishing_ = true;
    grace_ = grace;
    deadline_ = Clock::now() + grace;
}

void NbdSession::carry_on() {
    if (!finishing_) return;
    finishing_ = false;
    deadline_.reset();
    if (state_ == State::over) {
        state_ = State::failing;
        connector_.start();
    } else if (!outage_over_ && state_ != State::failing) {
        deadline_ = lost_at_ + timeout_;
    }
}

void NbdSession::close() {
    if (link_.connected() && link_.idle()) {
        wire::Request bye{};
        bye.magic = wire::kRequestMagic;
        bye.command = wire::kCommandDisconnect;
        static_cast<void>(::send(link_.socket(), &bye, sizeof bye, MSG_NOSIGNAL | MSG_DONTWAIT));
    }
    link_.disconnect();
    state_ = State::over;
    if (!link_.idle()) link_.fail_all(EIO);
}

}  // namespace gemel::tools
