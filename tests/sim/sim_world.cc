// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_world.h"

#include <algorithm>

#include "blockdev/bytes.h"
#include "tests/sim/sim_env.h"

namespace gemel::sim {

SimWorld::SimWorld(WorldOptions options)
    : options_(options), random_(options.seed), trace_(options.printing), network_(*this) {}

SimWorld::~SimWorld() = default;

void SimWorld::schedule_at(uint64_t time_ns, Happening& what) {
    queue_.schedule(round_up(std::max(time_ns, now_ns_), options_.tick_ns), what);
}

Drive& SimWorld::add_drive(DriveOptions options) {
    CHECK(find_drive(options.path) == nullptr);
    const std::string path = options.path;
    drives_.push_back(std::make_unique<Drive>(*this, drives_.size(), std::move(options)));
    drives_by_path_[path] = drives_.back().get();
    return *drives_.back();
}

Drive* SimWorld::find_drive(const std::string& path) {
    const auto found = drives_by_path_.find(path);
    return found == drives_by_path_.end() ? nullptr : found->second;
}

bool SimWorld::remove(const std::string& path) {
    return drives_by_path_.erase(path) + files_.erase(path) != 0;
}

SimEnv& SimWorld::start_process(uint32_t host) {
    const uint64_t pid = processes_.size() + 1;
    processes_.push_back(std::make_unique<SimEnv>(*this, host, pid, random_.next()));
    trace_.event(now_ns_, TraceTag::start, {pid, host});
    if (trace_.printing()) trace_.line(now_ns_, "process " + std::to_string(pid) + " starts");
    return *processes_.back();
}

void SimWorld::kill(SimEnv& process) {
    if (!process.alive()) return;
    const uint64_t pid = process.this_process().pid;
    trace_.event(now_ns_, TraceTag::kill, {pid});
    if (trace_.printing()) trace_.line(now_ns_, "process " + std::to_string(pid) + " is killed");
    process.die();
    for (const auto& drive : drives_) drive->abandon(process);
    network_.abandon(process);
}

void SimWorld::lose_power(uint32_t host, const std::vector<Drive*>& drives) {
    for (const auto& process : processes_) {
        if (process->host() == host) kill(*process);
    }
    ++boots_[host];
    for (Drive* drive : drives) {
        const auto style = static_cast<LossStyle>(random_.below(kLossStyles));
        trace_.event(now_ns_, TraceTag::power_loss,
                     {drive->number(), static_cast<uint64_t>(style)});
        if (trace_.printing()) {
            trace_.line(now_ns_, drive->options().path + " loses power, style " +
                                     std::to_string(static_cast<int>(style)) + ", unsynced " +
                                     std::to_string(drive->platter().unsynced()) + ", in flight " +
                                     std::to_string(drive->in_flight()));
        }
        drive->lose_power(style);
    }
}

bool SimWorld::is_alive(const ProcessId& id) const {
    return std::any_of(processes_.begin(), processes_.end(), [&id](const auto& process) {
        return process->this_process() == id && process->alive();
    });
}

uint64_t SimWorld::boot_of(uint32_t host) const {
    const auto found = boots_.find(host);
    return found == boots_.end() ? 0 : found->second;
}

void SimWorld::observe(const Moment& moment) {
    if (watcher_) watcher_(moment);
}

// Processes are added while this runs, and die; none is ever removed.
void SimWorld::run_processes() {
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < processes_.size(); ++i) {
            if (processes_[i]->turn()) again = true;
        }
    }
}

uint64_t SimWorld::next_time_ns() const {
    uint64_t next = queue_.next_time_ns();
    for (const auto& process : processes_) next = std::min(next, process->next_timer_ns());
    return next;
}

bool SimWorld::step() {
    run_processes();
    const uint64_t next = next_time_ns();
    if (next == UINT64_MAX || !violation_.empty()) return false;
    now_ns_ = std::max(now_ns_, next);
    while (queue_.next_time_ns() <= now_ns_) {
        queue_.take().happen();
        if (++happened_ > options_.events_max)
            violation("too many events: nothing comes to an end");
    }
    for (const auto& process : processes_) process->expire();
    return true;
}

bool SimWorld::run_until(const std::function<bool()>& condition, uint64_t deadline_ns) {
    while (true) {
        run_processes();
        if (!violation_.empty()) return false;
        if (condition()) return true;
        if (next_time_ns() > deadline_ns) {
            now_ns_ = std::max(now_ns_, deadline_ns);
            return false;
        }
        step();
    }
}

void SimWorld::run_for(uint64_t duration_ns) {
    const auto never = [] { return false; };
    run_until(never, now_ns_ + duration_ns);
}

void SimWorld::count_log(std::string_view text) {
    constexpr std::string_view kEvent = "event=";
    if (!text.starts_with(kEvent)) return;
    text.remove_prefix(kEvent.size());
    const size_t end = text.find(text.starts_with("member_state") ? " member=" : " ");
    ++log_counts_[std::string(text.substr(0, end))];
}

void SimWorld::violation(std::string text) {
    if (trace_.printing()) trace_.line(now_ns_, "VIOLATION " + text);
    if (violation_.empty()) violation_ = std::move(text);
}

}  // namespace gemel::sim
