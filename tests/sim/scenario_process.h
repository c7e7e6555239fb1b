// SPDX-License-Identifier: Apache-2.0
//
// The product in one simulated process, and what a scenario has it do. What is left of it after a
// crash is never destroyed.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "mirror/create.h"
#include "mirror/open.h"
#include "tests/sim/oracle.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/workload.h"

namespace gemel::sim {

class ScenarioProcess {
public:
    explicit ScenarioProcess(SimEnv& simulated)
        : env(simulated), scope(simulated), operators(simulated) {}

    SimEnv& env;
    Scope scope;
    Scope operators;  // What nobody waits for.
    std::optional<Outcome<mirror::VolumeDescription>> created;
    std::optional<Outcome<std::unique_ptr<mirror::Volume>>> opened;
    std::unique_ptr<mirror::Volume> volume;
    std::unique_ptr<Workload> workload;
    bool scanned = false;
    std::optional<mirror::ScrubReport> scrubbed;  // The last pass.
    bool drained = false;
    bool probed = false;
    std::optional<Status> closed;

    Task<void> create(mirror::CreateOptions options);
    Task<void> open(mirror::VolumeDescription description, mirror::OpenOptions options);
    Task<void> close(uint64_t deadline_ns);
    // Reads all of the volume; what was found is what it holds from now on.
    Task<void> scan(Oracle& oracle, std::vector<Extent>& extents);
    // A whole pass that begins now.
    Task<void> scrub();
    // Until all is home.
    Task<void> drain();
    // Of the blocks in `lost` no member has a good copy: exactly they cannot be read, and writing
    // to each of them cures it.
    Task<void> probe_lost(Oracle& oracle, const std::set<uint64_t>& lost, uint64_t seed);

    // What an operator does. Refusals are legal.
    Task<void> take_offline(size_t member);
    Task<void> bring_online(size_t member);

private:
    Task<void> expect_lost(Oracle& oracle, uint64_t block, bool lost);
    Task<void> overwrite(Oracle& oracle, uint64_t block, uint64_t way);
    void fail(const std::string& text) { env.world().violation(text); }
};

}  // namespace gemel::sim
