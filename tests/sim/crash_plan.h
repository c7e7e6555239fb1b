// SPDX-License-Identifier: Apache-2.0
//
// Where a crash falls: at the n-th request of some kind in some part of a member, before it, in the
// middle of it or right after it; or at some moment of time. The parts are those of the on-disk
// format, so that every step of a checkpoint and of a settlement is aimed at.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "blockdev/layout.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

enum class Region : uint8_t {
    superblock_a,
    owner,
    log,
    index,
    checksums,
    superblock_b,
    home,
    file,     // Not on a member: the witness.
    unknown,  // Before the member has a format.
};
inline constexpr uint64_t kRegions = 9;
const char* name(Region region);

Region region_at(const blockdev::Layout& layout, uint64_t offset);

enum class Phase : uint8_t { create, open, scan, serve, recover, close };
const char* name(Phase phase);

enum class CrashKind : uint8_t { kill, power_everywhere, power_somewhere };
const char* name(CrashKind kind);

struct CrashPlan {
    CrashKind kind = CrashKind::kill;
    MomentKind moment = MomentKind::submitted;
    // A sync counts for the part that was changed last before it on the same drive.
    IoKind io = IoKind::write;
    Region region = Region::log;
    uint64_t countdown = 1;         // The n-th of them.
    Phase from = Phase::open;       // Counted from the beginning of this phase on.
    std::optional<uint64_t> at_ns;  // Instead of all that.
};
CrashKind draw_crash_kind(Random& random);
// The moments that plans aim at, as place() tells them but for the phase.
std::vector<std::string> crash_places();
CrashPlan draw_crash_plan(Random& random, uint64_t now_ns);

// Follows what happens, and says when the moment of the plan has come.
class CrashWatcher {
public:
    void set_layout(const blockdev::Layout& layout) { layout_ = layout; }
    void set_phase(Phase phase) { phase_ = phase; }
    Phase phase() const { return phase_; }
    void arm(CrashPlan plan) { plan_ = plan; }
    void disarm() { plan_.reset(); }
    bool armed() const { return plan_.has_value(); }
    const CrashPlan& plan() const { return *plan_; }

    // True at the moment the plan names.
    bool observe(const Moment& moment);
    // "serve: submitted write log" of the last moment observed.
    std::string place() const;

private:
    Region region_of(const Moment& moment);

    std::optional<blockdev::Layout> layout_;
    std::optional<CrashPlan> plan_;
    Phase phase_ = Phase::create;
    std::map<const Drive*, Region> last_changed_;
    Moment last_;
    Region last_region_ = Region::unknown;
};

}  // namespace gemel::sim
