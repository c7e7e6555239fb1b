// SPDX-License-Identifier: Apache-2.0
//
// SimWorld: everything outside the product in one simulated run: the clock, the queue of events,
// chance, the drives and small files that outlive processes, the network, and the processes
// themselves. One seed is one run, to the last event.
//
// The driver (a test, a scenario) is plain code: it starts processes, lets coroutines run in them,
// and calls step() or run_until(). Whoever watches moments may kill processes at any of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blockdev/env.h"
#include "tests/sim/drive.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/trace.h"

namespace gemel::sim {

struct WorldOptions {
    uint64_t seed = 1;
    bool printing = false;
    uint64_t tick_ns = 1;  // Events fall on multiples: a larger tick makes more of them
                           // happen together.
    uint64_t events_max = 100'000'000;  // More is taken for a livelock.
};

enum class MomentKind : uint8_t {
    submitting,  // Before the request exists for the drive.
    submitted,   // It is in flight.
    completing,  // It has landed; its owner does not know yet.
    replacing_file,
    replaced_file,
};

// A point at which a crash may be placed.
struct Moment {
    MomentKind kind = MomentKind::submitting;
    SimEnv* process = nullptr;
    Drive* drive = nullptr;  // Null for files.
    IoKind io = IoKind::read;
    uint64_t offset = 0;
    uint64_t length = 0;
};

class SimWorld {
public:
    explicit SimWorld(WorldOptions options);
    ~SimWorld();
    SimWorld(const SimWorld&) = delete;
    SimWorld& operator=(const SimWorld&) = delete;

    uint64_t now_ns() const { return now_ns_; }
    Random& random() { return random_; }
    Trace& trace() { return trace_; }
    SimNetwork& network() { return network_; }
    // No earlier than now.
    void schedule_at(uint64_t time_ns, Happening& what);

    Drive& add_drive(DriveOptions options);
    Drive* find_drive(const std::string& path);
    std::map<std::string, std::vector<std::byte>>& files() { return files_; }
    // From now on small files cannot be replaced: their file system is full, or read-only.
    void fail_file_writes(bool fail) { file_writes_fail_ = fail; }
    bool file_writes_fail() const { return file_writes_fail_; }
    // Unlinks a drive or a file. A drive's requests in flight still land, on nothing.
    bool remove(const std::string& path);

    SimEnv& start_process(uint32_t host = 0);
    // kill -9. Takes effect at once, also from inside one of its own calls: nothing it does any
    // more reaches the world, nothing completes for it. Its coroutines are never resumed after the
    // turn that is running; they and their objects must not be destroyed.
    void kill(SimEnv& process);
    // Kills all processes of the host; the given drives forget what nothing made durable, by a
    // style drawn for each.
    void lose_power(uint32_t host, const std::vector<Drive*>& drives);
    bool is_alive(const ProcessId& id) const;
    uint64_t boot_of(uint32_t host) const;

    // Called at every moment. Must not submit anything itself.
    void watch(std::function<void(const Moment&)> watcher) { watcher_ = std::move(watcher); }
    void observe(const Moment& moment);

    // Runs all that is ready, then what happens next. False if nothing ever will.
    bool step();
    // True once `condition` holds; false if the deadline comes first (then that is the time), or
    // the world has found a violation.
    bool run_until(const std::function<bool()>& condition, uint64_t deadline_ns);
    void run_for(uint64_t duration_ns);

    // What the product says it did, by kind: the lines "event=NAME ...", and of a member's state
    // where it moved from and to.
    const std::map<std::string, uint64_t>& log_counts() const { return log_counts_; }
    void count_log(std::string_view text);

    // Something that must never happen on any disk. The first one is kept, and stops the run.
    void violation(std::string text);
    const std::string& first_violation() const { return violation_; }

    // How often any process has logged a warning, or worse.
    uint64_t warnings() const { return warnings_; }
    void note_warning() { ++warnings_; }

private:
    void run_processes();
    uint64_t next_time_ns() const;

    WorldOptions options_;
    uint64_t now_ns_ = 1'000'000'000;
    Random random_;
    Trace trace_;
    EventQueue queue_;
    SimNetwork network_;
    std::vector<std::unique_ptr<Drive>> drives_;  // All there ever were.
    std::map<std::string, Drive*> drives_by_path_;
    std::map<std::string, std::vector<std::byte>> files_;
    bool file_writes_fail_ = false;
    std::vector<std::unique_ptr<SimEnv>> processes_;  // All there ever were.
    std::map<uint32_t, uint64_t> boots_;              // Per host, how often it has booted.
    std::function<void(const Moment&)> watcher_;
    std::string violation_;
    std::map<std::string, uint64_t> log_counts_;
    uint64_t happened_ = 0;
    uint64_t warnings_ = 0;
};

}  // namespace gemel::sim
