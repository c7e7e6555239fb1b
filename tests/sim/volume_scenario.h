// SPDX-License-Identifier: Apache-2.0
//
// One seed of the mirrored volume: it is made, and then lives several lives, each of which opens
// it, checks all of its content, lets clients work, and ends in a crash or in order. The last one
// ends in order; then every member's home must hold exactly what the clients were promised.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mirror/create.h"
#include "mirror/open.h"
#include "tests/sim/crash_plan.h"
#include "tests/sim/oracle.h"
#include "tests/sim/seed_report.h"
#include "tests/sim/short_space.h"
#include "tests/sim/sim_world.h"
#include "tests/sim/workload.h"

namespace gemel::sim {

class VolumeScenario {
public:
    VolumeScenario(uint64_t seed, bool printing);
    ~VolumeScenario();

    // Runs the seed. Once.
    SeedReport run();

private:
    // The product in one process. What is left of it after a crash is never destroyed.
    struct Process;

    void draw_world();
    void start_process();
    bool create();
    void live(bool last);
    bool open();
    bool scan();
    bool serve();
    void close();
    void crash(CrashKind kind);
    bool run_phase(const std::function<bool()>& done, uint64_t limit_ns);
    void idle();
    void damage();
    void check_report();
    void check_homes();
    void check_extents(const std::vector<Extent>& extents);
    void finish_report();
    std::string member_path(size_t index) const;
    std::vector<Drive*> drives();

    SimWorld world_;
    Random random_;
    SeedReport report_;
    CrashWatcher watcher_;
    mirror::CreateOptions create_options_;
    mirror::OpenOptions open_options_;
    mirror::VolumeDescription description_;
    blockdev::Layout layout_;
    std::unique_ptr<Oracle> oracle_;
    std::unique_ptr<ShortSpace> space_;  // Null: space never runs out.
    Drive* damaged_ = nullptr;           // The one member whose home may be damaged.
    std::set<uint64_t> damaged_blocks_;
    Process* process_ = nullptr;
    Loss loss_ = Loss::nothing;      // Since the content was last checked.
    std::set<uint64_t> lost_power_;  // Members, since then.
};

}  // namespace gemel::sim
