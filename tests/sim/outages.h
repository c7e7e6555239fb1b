// SPDX-License-Identifier: Apache-2.0
//
// Outages: members that hang, fail, vanish, turn slow, or are taken out by an operator, and come
// back. One member in sync is always left alone, and what is damaged on others counts: see
// FaultBudget.
#pragma once

#include <optional>
#include <vector>

#include "tests/sim/drive.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/fault_budget.h"
#include "tests/sim/fault_class.h"
#include "tests/sim/scenario_process.h"
#include "tests/sim/seed_report.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

class Outages final : public Happening {
public:
    Outages(SimWorld& world, const FaultMix& mix, std::vector<Drive*> drives, FaultBudget& budget,
            SeedReport& report);

    // A life: from when its volume serves until it ends.
    void begin_life(ScenarioProcess& process);
    void end_life();
    // No more outages in this life; all drives work, and the operator brings every member back.
    void end_all();
    // True once every member is in sync again.
    bool all_in_sync();
    // Which members are in sync, as the volume says.
    std::vector<bool> in_sync() const;
    // One bit per member that may not have all that was acknowledged.
    uint32_t out() const { return out_; }

    void happen() override;

private:
    struct Outage {
        std::optional<FaultClass> kind;  // Nothing: the drive works.
        uint64_t until_ns = 0;
        uint64_t felt_until_ns = 0;  // What was under way may still fail.
    };
    void schedule();
    void look();
    void begin(size_t member);
    void end(size_t member);
    void cure(size_t member);
    bool may_begin(size_t member) const;

    SimWorld& world_;
    FaultMix mix_;
    std::vector<Drive*> drives_;
    FaultBudget& budget_;
    SeedReport& report_;
    Random random_;
    std::vector<Outage> outages_;
    uint32_t out_ = 0;
    ScenarioProcess* process_ = nullptr;  // Null: none lives.
    bool active_ = false;
    bool scheduled_ = false;
};

}  // namespace gemel::sim
