// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_network.h"

#include <algorithm>

#include "tests/sim/sim_env.h"
#include "tests/sim/sim_stream.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

namespace {

Error connection_lost() { return {Errc::closed, 0, "the connection is lost"}; }

}  // namespace

void Pipe::send(SimEnv& process, StreamRequest& request) {
    CHECK(sending_ == nullptr);
    sending_ = &request;
    sender_ = &process;
    sent_ = 0;
    pump();
}

void Pipe::receive(SimEnv& process, StreamRequest& request) {
    CHECK(receiving_ == nullptr && request.segment_count == 1 && request.length > 0);
    receiving_ = &request;
    receiver_ = &process;
    serve();
}

void Pipe::end() {
    if (send_ended_) return;
    send_ended_ = true;
    dispatch({});
    if (sending_ != nullptr) finish_send(connection_lost());
}

void Pipe::stop_receiving() {
    dropping_ = true;
    arrived_.clear();
    if (receiving_ != nullptr) finish_receive(Status::success(), 0);
}

void Pipe::break_off() {
    send_ended_ = true;
    Arrival arrival;
    arrival.breaks = true;
    dispatch(std::move(arrival));
    if (sending_ != nullptr) finish_send(connection_lost());
}

void Pipe::dispatch(Arrival arrival) {
    const uint64_t time_ns = world_.now_ns() + world_.network().draw_latency_ns();
    last_arrival_ns_ = std::max(last_arrival_ns_, time_ns);
    arrival.time_ns = last_arrival_ns_;
    unread_ += arrival.data.size();
    on_the_way_.push_back(std::move(arrival));
    world_.schedule_at(last_arrival_ns_, *this);
}

// Sends what the window has room for.
void Pipe::pump() {
    if (sending_ == nullptr) return;
    if (send_ended_) return finish_send(connection_lost());
    std::vector<std::byte> data;
    const size_t room = kWindow > unread_ ? kWindow - unread_ : 0;
    const size_t count = std::min(room, sending_->length - sent_);
    data.reserve(count);
    size_t start = 0;
    for (uint32_t i = 0; i < sending_->segment_count; ++i) {
        const IoSegment& segment = sending_->segments[i];
        const size_t from = std::max(sent_, start);
        const size_t to = std::min(sent_ + count, start + segment.length);
        if (from < to) {
            data.insert(data.end(), segment.data + (from - start), segment.data + (to - start));
        }
        start += segment.length;
    }
    sent_ += count;
    if (!data.empty()) {
        Arrival arrival;
        arrival.data = std::move(data);
        dispatch(std::move(arrival));
    }
    if (sent_ == sending_->length) finish_send(Status::success());
}

void Pipe::happen() {
    while (!on_the_way_.empty() && on_the_way_.front().time_ns <= world_.now_ns()) {
        Arrival& arrival = on_the_way_.front();
        if (arrival.breaks) {
            broken_ = true;
            arrived_.clear();
        } else if (arrival.data.empty()) {
            end_arrived_ = true;
        } else if (dropping_ || broken_) {
            unread_ -= arrival.data.size();
        } else {
            arrived_.insert(arrived_.end(), arrival.data.begin(), arrival.data.end());
        }
        on_the_way_.pop_front();
    }
    serve();
    pump();
}

void Pipe::serve() {
    if (receiving_ == nullptr) return;
    if (broken_) return finish_receive(connection_lost(), 0);
    if (dropping_) return finish_receive(Status::success(), 0);
    if (arrived_.empty()) {
        if (end_arrived_) finish_receive(Status::success(), 0);
        return;
    }
    size_t count = std::min(arrived_.size(), receiving_->length);
    if (world_.random().chance(kCertain / 4)) count = world_.random().between(1, count);
    const auto end = arrived_.begin() + static_cast<std::ptrdiff_t>(count);
    std::copy(arrived_.begin(), end, receiving_->segments[0].data);
    arrived_.erase(arrived_.begin(), end);
    unread_ -= count;
    finish_receive(Status::success(), count);
    pump();
}

void Pipe::finish_send(Status status) {
    sending_->status = status;
    sending_->transferred = sent_;
    StreamRequest* request = std::exchange(sending_, nullptr);
    if (sender_->alive()) sender_->post(request->done);
}

void Pipe::finish_receive(Status status, size_t transferred) {
    world_.trace().event(world_.now_ns(), TraceTag::network, {transferred, status.ok()});
    receiving_->status = status;
    receiving_->transferred = transferred;
    StreamRequest* request = std::exchange(receiving_, nullptr);
    if (receiver_->alive()) receiver_->post(request->done);
}

uint64_t SimNetwork::draw_latency_ns() {
    Random& random = world_.random();
    uint64_t delay = latency.base_ns + random.below(latency.spread_ns + 1);
    if (random.chance(latency.slow_rate)) delay += random.below(latency.slow_ns + 1);
    return delay;
}

bool SimNetwork::bind(const std::string& address, SimListener& listener) {
    return listeners_.emplace(address, &listener).second;
}

void SimNetwork::unbind(const std::string& address) { listeners_.erase(address); }

SimListener* SimNetwork::listener_at(const std::string& address) {
    const auto found = listeners_.find(address);
    return found == listeners_.end() ? nullptr : found->second;
}

Connection& SimNetwork::add_connection(SimEnv& client, SimEnv& server, const std::string& address) {
    connections_.push_back(std::make_unique<Connection>(world_));
    Connection& connection = *connections_.back();
    connection.processes = {&client, &server};
    connection.addresses = {"client " + std::to_string(connections_.size()), address};
    return connection;
}

void SimNetwork::abandon(SimEnv& process) {
    for (auto it = listeners_.begin(); it != listeners_.end();) {
        it = &it->second->process() == &process ? listeners_.erase(it) : std::next(it);
    }
    for (const auto& connection : connections_) {
        for (size_t end = 0; end < 2; ++end) {
            if (connection->processes[end] != &process) continue;
            Pipe& outgoing = connection->pipes[end];
            Pipe& incoming = connection->pipes[1 - end];
            outgoing.forget_sender();
            incoming.forget_receiver();
            incoming.stop_receiving();
            if (world_.random().coin()) {
                outgoing.end();
            } else {
                outgoing.break_off();
            }
        }
    }
}

void SimNetwork::cut(SimEnv& process) {
    for (const auto& connection : connections_) {
        const auto& ends = connection->processes;
        if (ends[0] != &process && ends[1] != &process) continue;
        for (Pipe& pipe : connection->pipes) pipe.break_off();
    }
}

}  // namespace gemel::sim
