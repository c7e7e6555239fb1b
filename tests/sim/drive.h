// SPDX-License-Identifier: Apache-2.0
//
// A simulated disk drive, or a file that behaves like one: a platter, the requests in flight with
// their latencies, injected faults, and who has it locked. It outlives the processes that use it.
//
// A request reaches the platter in up to two steps between its submission and its completion, cut
// at any sector, so that a read beside a write of the same blocks sees them torn.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/platter.h"
#include "tests/sim/random.h"

namespace gemel::sim {

class Drive;
class SimEnv;
class SimWorld;

struct DriveOptions {
    std::string path;
    uint64_t size = 0;
    bool is_block_device = false;
    bool direct = true;
    FileSystem* file_system = nullptr;  // Null: space never runs out.
};

struct DriveLatency {
    uint64_t base_ns = 20'000;
    uint64_t spread_ns = 80'000;
    uint64_t page_ns = 500;      // Per page moved.
    uint64_t sync_ns = 200'000;  // On top, for a sync.
    uint32_t slow_rate = 2'000;  // Parts per million of requests that take slow_ns more.
    uint64_t slow_ns = 20'000'000;
    uint32_t two_step_rate = 300'000;  // Requests that reach the platter in two steps.
    bool one_at_a_time = false;        // Each waits for those before it; else they do not meet.
};

// What goes wrong; nothing unless asked for. Rates in parts per million of requests of the kind.
struct DriveFaults {
    uint32_t read_error_rate = 0;
    uint32_t write_error_rate = 0;  // Of the data nothing, all, or some has landed.
    uint32_t sync_error_rate = 0;
    uint32_t lost_write_rate = 0;         // Acknowledged, never stored.
    bool hung = false;                    // Nothing completes before it is false again.
    bool dead = false;                    // Everything fails.
    uint64_t slowness = 1;                // Everything takes so many times as long.
    std::set<uint64_t> unreadable_pages;  // Each until it is written to.
};

enum class Fate : uint8_t { as_asked, fails, is_lost };

// Decides about requests one by one, where rates are not enough. Called once for each.
class Fates {
public:
    virtual ~Fates() = default;
    virtual Fate fate_of(const Drive& drive, IoKind kind, uint64_t offset, uint64_t length) = 0;
};

class Flight;

class Drive {
public:
    Drive(SimWorld& world, uint64_t number, DriveOptions options);
    ~Drive();
    Drive(const Drive&) = delete;
    Drive& operator=(const Drive&) = delete;

    uint64_t number() const { return number_; }
    const DriveOptions& options() const { return options_; }
    Platter& platter() { return platter_; }
    FileSystem* file_system() { return options_.file_system; }
    DriveLatency latency;
    DriveFaults faults;
    Fates* fates = nullptr;

    // One open description of the drive, named by a number that is never used again.
    void submit(SimEnv& process, uint64_t handle, IoRequest& request);
    void closed(uint64_t handle);
    // `handle` may write beside the owner of the lock, and beside writes in flight.
    void admit_outsider(uint64_t handle) { outsiders_.insert(handle); }
    bool try_lock(uint64_t handle);
    uint64_t in_flight() const { return flights_.size(); }

    // The process is gone: its requests never complete for it. Each lands wholly, partly or not,
    // sooner or later; its locks are free only after the last of them.
    void abandon(SimEnv& process);
    // What no sync covered may be gone; nothing is in flight any more.
    void lose_power(LossStyle style);
    // Sets faults.hung to false and lets what hung go on.
    void release();

private:
    friend class Flight;
    void check(const IoRequest& request, uint64_t handle) const;
    std::unique_ptr<Flight> take_off(SimEnv& process, uint64_t handle, IoRequest& request);
    void judge(Flight& flight);
    void claim_pages(const Flight& flight);
    uint64_t draw_latency_ns(const Flight& flight);
    void advance(Flight& flight);
    void finish(Flight& flight);
    void move_data(Flight& flight, uint64_t begin, uint64_t end);
    void settle(Flight& flight);
    void complete(Flight& flight);
    void retire(Flight& flight);
    void cut_short(Flight& flight);
    void cure_pages(uint64_t offset, uint64_t length);
    void unlock_if_idle(uint64_t handle);
    bool has_flights(uint64_t handle) const;

    SimWorld& world_;
    uint64_t number_;
    DriveOptions options_;
    Platter platter_;
    Random random_;
    std::map<uint64_t, Flight*> flights_;   // By order of submission.
    std::map<uint64_t, uint64_t> writing_;  // First page to end page, none overlap.
    std::vector<Flight*> hanging_;
    uint64_t next_flight_ = 0;
    uint64_t busy_until_ns_ = 0;  // With latency.one_at_a_time.
    uint64_t lock_holder_ = 0;    // A handle; 0 if free.
    std::set<uint64_t> outsiders_;
    std::set<uint64_t> unsyncable_;  // Handles of which a sync has failed.
};

}  // namespace gemel::sim
