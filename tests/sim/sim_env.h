// SPDX-License-Identifier: Apache-2.0
//
// SimEnv: the seam of one simulated process. Everything goes to the world, until the process dies;
// from then on it reaches nothing and is never run again.
#pragma once

#include <vector>

#include "blockdev/env.h"
#include "tests/sim/random.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

class SimEnv final : public Env {
public:
    SimEnv(SimWorld& world, uint32_t host, uint64_t pid, uint64_t seed);

    bool alive() const { return alive_; }
    uint32_t host() const { return host_; }
    SimWorld& world() { return world_; }
    // The open descriptions this process ever had.
    const std::vector<uint64_t>& handles() const { return handles_; }

    // For the world. turn() is false if there was nothing to run.
    bool turn();
    void expire();
    uint64_t next_timer_ns() const { return alive_ ? next_deadline_ns() : UINT64_MAX; }
    void die() { alive_ = false; }

    uint64_t now_ns() const override { return world_.now_ns(); }
    uint64_t wall_clock_s() const override;
    uint64_t random_u64() override { return random_.next(); }
    void log(LogLevel level, std::string_view text) override;
    ProcessId this_process() const override { return id_; }
    bool is_alive(const ProcessId& process) const override { return world_.is_alive(process); }
    Outcome<std::unique_ptr<Disk>> open_disk(const std::string& path, DiskOptions options) override;
    Status remove_file(const std::string& path) override;
    Result<std::vector<std::byte>> read_file(const std::string& path, size_t limit) override;
    Status replace_file(const std::string& path, std::span<const std::byte> data) override;
    Outcome<std::unique_ptr<Listener>> listen(const Address& address) override;
    Task<Result<std::unique_ptr<Stream>>> connect(Address address) override;

private:
    SimWorld& world_;
    uint32_t host_;
    ProcessId id_;
    Random random_;
    std::vector<uint64_t> handles_;
    bool alive_ = true;
};

}  // namespace gemel::sim
