// SPDX-License-Identifier: Apache-2.0
//
// One seed of the mirrored volume: it is made, and then lives several lives, each of which opens
// it, checks all of its content, lets clients work, and ends in a crash or in order, while disks
// decay as far as the budget allows. The last one is scrubbed and ends in order; then every member
// must be whole, and its home hold exactly what the clients were promised.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mirror/create.h"
#include "mirror/open.h"
#include "tests/sim/crash_plan.h"
#include "tests/sim/oracle.h"
#include "tests/sim/outages.h"
#include "tests/sim/saboteur.h"
#include "tests/sim/scenario_process.h"
#include "tests/sim/seed_report.h"
#include "tests/sim/short_space.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

struct ScenarioOptions {
    uint64_t seed = 1;
    bool printing = false;
    FaultSet faults = FaultSet::all();  // What may happen, if the seed draws it.
};

class VolumeScenario {
public:
    explicit VolumeScenario(const ScenarioOptions& options);
    ~VolumeScenario();

    // Runs the seed. Once.
    SeedReport run();

private:
    void draw_world();
    void start_process();
    bool create();
    void live(bool last);
    bool open();
    bool scan();
    bool serve();
    void close(bool last);
    void crash(CrashKind kind);
    bool run_phase(const std::function<bool()>& done, uint64_t limit_ns);
    void idle();
    bool recover();
    bool verify();
    bool lose_blocks();
    void check_report();
    void audit();
    void check_homes(const std::vector<bool>& in_sync);
    void check_extents(const std::vector<Extent>& extents);
    void finish_report();
    std::string member_path(size_t index) const;
    std::vector<Drive*> drives();

    ScenarioOptions options_;
    SimWorld world_;
    Random random_;
    FaultMix mix_;
    SeedReport report_;
    CrashWatcher watcher_;
    mirror::CreateOptions create_options_;
    mirror::OpenOptions open_options_;
    mirror::VolumeDescription description_;
    blockdev::Layout layout_;
    std::unique_ptr<Oracle> oracle_;
    std::unique_ptr<ShortSpace> space_;   // Null: space never runs out.
    std::unique_ptr<Saboteur> saboteur_;  // From creation on.
    std::unique_ptr<Outages> outages_;    // The same.
    std::vector<bool> in_sync_at_open_;
    std::vector<bool> in_sync_at_close_;
    ScenarioProcess* process_ = nullptr;
    Loss loss_ = Loss::nothing;  // Since the content was last checked.
    uint32_t lost_power_ = 0;    // One bit per member, since then.
};

}  // namespace gemel::sim
