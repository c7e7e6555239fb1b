// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/coverage.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "mirror/member_state.h"
#include "tests/sim/crash_plan.h"
#include "tests/sim/fault_class.h"

namespace gemel::sim {

using mirror::MemberState;
using enum mirror::MemberState;

namespace {

// Legal moves that nothing in the simulated world leads to yet, and what they wait for.
bool waits_for_its_feature(MemberState from, MemberState to) {
    const auto either = [&](MemberState state) { return from == state || to == state; };
    // Backups of a consistency mode; others return to the set or fail.
    if (from == lagging && (to == behind || to == offline)) return true;
    if (either(adding)) return true;    // Members that are added.
    if (either(spare)) return true;     // Spares.
    if (either(removed)) return true;   // Members that are removed.
    if (either(diverged)) return true;  // Volumes started by force.
    return false;
}

// Legal, and never done: what leads there goes by way of another state.
bool is_never_made(MemberState from, MemberState to) {
    static constexpr std::array<std::pair<MemberState, MemberState>, 5> kNever{{
        {resyncing, behind},  // It fails, and begins anew from its superblock.
        {behind, missing},    // One that is there and goes away has failed.
        {missing, failed},    // What is not there cannot fail,
        {offline, failed},    // and what is out is not asked.
        {offline, behind},    // It is looked for first.
    }};
    return std::find(kNever.begin(), kNever.end(), std::pair(from, to)) != kNever.end();
}

// How the product tells that it has put something right, or that nobody can. Tables that are whole
// and differ come by in a sweep only (see sweep/).
constexpr std::array kRecoveries = {
    "event cleared",        "event explained",
    "event healed",         "event log_healed",
    "event member_failed",  "event member_found",
    "event member_in_sync", "event member_missing",
    "event member_offline", "event owner_record_damaged",
    "event resync_begins",  "event superblock_damaged",
    "event table_repaired", "event superblock_was_old",
    "event unrecoverable",
};

class Missing {
public:
    explicit Missing(const SeedReport& total) : total_(total) {}

    void expect(const std::string& what) {
        if (!total_.counts.contains(what)) names_.push_back(what);
    }
    // Anything that begins and ends so.
    void expect(const std::string& begin, const std::string& end) {
        const bool found =
            std::any_of(total_.counts.begin(), total_.counts.end(), [&](const auto& count) {
                return count.first.starts_with(begin) && count.first.ends_with(end);
            });
        if (!found) names_.push_back(begin + "..." + end);
    }
    std::vector<std::string> take() { return std::move(names_); }

private:
    const SeedReport& total_;
    std::vector<std::string> names_;
};

void expect_moves(Missing& missing) {
    for (size_t i = 0; i < mirror::kMemberStates; ++i) {
        for (size_t j = 0; j < mirror::kMemberStates; ++j) {
            const auto from = static_cast<MemberState>(i);
            const auto to = static_cast<MemberState>(j);
            if (!may_move(from, to) || waits_for_its_feature(from, to)) continue;
            if (is_never_made(from, to)) continue;
            missing.expect(std::string("event member_state from=") + mirror::name(from) +
                           " to=" + mirror::name(to));
        }
    }
}

void expect_faults(Missing& missing) {
    const auto between = [](FaultClass fault, FaultClass first, FaultClass last) {
        return fault >= first && fault <= last;
    };
    for (size_t i = 0; i < kFaultClasses; ++i) {
        const auto fault = static_cast<FaultClass>(i);
        const std::string text = name(fault);
        if (between(fault, FaultClass::bit_rot, FaultClass::lost_write)) {
            missing.expect("fault, " + text + " ", "");
        } else if (between(fault, FaultClass::in_data, FaultClass::in_superblock)) {
            missing.expect("fault, ", " " + text);
        } else if (between(fault, FaultClass::hang, FaultClass::operators)) {
            missing.expect("outage, " + text);
        }
    }
    missing.expect("strikes offline");
    missing.expect("strikes online");
    missing.expect("blocks lost on all members");
    missing.expect("calls refused for lack of space");
}

void expect_crashes(Missing& missing) {
    for (const CrashKind kind :
         {CrashKind::kill, CrashKind::power_everywhere, CrashKind::power_somewhere}) {
        missing.expect(std::string("crash, ") + name(kind));
    }
    for (const std::string& place : crash_places()) missing.expect("crash at ", ": " + place);
    for (const Phase phase : {Phase::create, Phase::open, Phase::serve, Phase::close}) {
        missing.expect(std::string("crash at ") + name(phase) + ": ", "");
    }
}

}  // namespace

std::vector<std::string> not_covered(const SeedReport& total) {
    Missing missing(total);
    expect_moves(missing);
    expect_faults(missing);
    expect_crashes(missing);
    for (const char* recovery : kRecoveries) missing.expect(recovery);
    return missing.take();
}

}  // namespace gemel::sim
