// SPDX-License-Identifier: Apache-2.0
//
// Saboteur: damages members and spoils requests, as the mix of a seed says and the budget allows.
//
// It goes for what is in use: the bytes of a block that is not a hole, and rather what was written
// lately. Superblocks are a case of their own. Of a member's two copies one may be damaged while
// the other is whole, and no request is on its way, since a crash may tear it; while a process has
// the member, only the one that its next write replaces.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "blockdev/damage.h"
#include "blockdev/layout.h"
#include "tests/sim/drive.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/fault_budget.h"
#include "tests/sim/fault_class.h"
#include "tests/sim/seed_report.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

class Saboteur final : public Happening, public Fates {
public:
    Saboteur(SimWorld& world, const FaultMix& mix, std::vector<Drive*> drives,
             const blockdev::Layout& layout, SeedReport& report);

    FaultBudget& budget() { return budget_; }
    size_t member_of(const Drive& drive) const;

    // Some damage, now, while no process runs.
    void strike_offline();
    // From now on, or until further notice, damage comes while the volume serves.
    void begin_online();
    void end_online() { online_ = false; }
    // The same for requests.
    void spoil_requests(bool spoil) { spoiling_ = spoil; }
    // Remembers what the members hold, to put some of it back later.
    void remember();
    // Of a log that was settled or healed a place beyond its end may still be unreadable, and would
    // pass for a part of it if nobody else were there.
    void note_unreadable_logs();
    // Damages the home of a block on all members; false, and nothing is done, if it is zero there.
    bool strike_everywhere(uint64_t block);

    void happen() override;
    Fate fate_of(const Drive& drive, IoKind kind, uint64_t offset, uint64_t length) override;

private:
    struct Target {
        FaultClass place = FaultClass::in_data;
        size_t member = 0;
        uint64_t offset = 0;
        uint64_t number = 0;  // Of a block, or a page.
    };
    struct Extent {
        uint64_t offset = 0;
        uint64_t length = 0;
    };

    void strike();
    void strike_some(Random& random, FaultClass kind, FaultClass place, size_t member);
    void put_back_chain(Random& random, size_t member);
    std::optional<Target> pick(Random& random, FaultClass place, size_t member);
    std::optional<Target> pick_data(Random& random, size_t member);
    std::optional<Target> pick_superblock(Random& random, size_t member);
    std::optional<uint64_t> recent(Random& random, size_t member, uint64_t begin, uint64_t end);
    bool spend(const Target& target);
    bool spend_request(size_t member, uint64_t offset, uint64_t length);
    void damage(Random& random, FaultClass kind, const Target& target);
    void swap(Random& random, const Target& first);
    void put_back(size_t member, uint64_t offset);
    const std::byte* remembered(Random& random, size_t member, uint64_t offset) const;
    bool is_zero(size_t member, uint64_t offset) const;
    void count(FaultClass kind, FaultClass place, size_t member, uint64_t offset);

    SimWorld& world_;
    FaultMix mix_;
    std::vector<Drive*> drives_;
    blockdev::Layout layout_;
    SeedReport& report_;
    FaultBudget budget_;
    Random random_;
    Random request_random_;
    std::vector<std::deque<Extent>> written_;          // Lately, per member.
    std::vector<std::vector<Platter::Image>> memory_;  // Moments of all members.
    bool spoiling_ = false;
    bool online_ = false;
    bool scheduled_ = false;
    uint64_t strikes_left_ = 0;  // Online, in this life.
};

}  // namespace gemel::sim
