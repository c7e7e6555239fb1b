// SPDX-License-Identifier: Apache-2.0
//
// What VolumeScenario checks of a volume and its members.
#include <array>

#include "tests/sim/member_audit.h"
#include "tests/sim/volume_scenario.h"

namespace gemel::sim {

namespace {

constexpr std::array<std::byte, kPageSize> kZeros{};

}  // namespace

void VolumeScenario::check_report() {
    const mirror::VolumeReport volume = process_->volume->report();
    if (volume.state != "serving") world_.violation("stopped: " + volume.stopped_because);
    report_.count("checkpoints", volume.checkpoints);
    report_.count("batches", volume.batches);
    for (const mirror::MemberReport& member : volume.members) {
        if (mix_.any() || mix_.outage_interval_ns_max != 0) continue;
        if (member.mismatches + member.read_errors + member.write_errors == 0) continue;
        world_.violation(member.path + ": damage seen where there is none: mismatches=" +
                         std::to_string(member.mismatches));
    }
}

// Every member's home, as it lies on the platter, is the content of the volume.
void VolumeScenario::check_homes(const std::vector<bool>& in_sync) {
    std::array<std::byte, kPageSize> found;
    for (Drive* drive : drives()) {
        const size_t member = saboteur_->member_of(*drive);
        if (!in_sync[member]) continue;
        for (uint64_t block = 0; block < layout_.volume_blocks(); ++block) {
            drive->platter().read(layout_.home(block), found);
            if (oracle_->may_hold(block, found.data())) continue;
            if (saboteur_->budget().is_data_damaged(member, block)) continue;
            world_.violation(drive->options().path + ": its home differs at block " +
                             std::to_string(block));
            return;
        }
    }
}

void VolumeScenario::check_extents(const std::vector<Extent>& extents) {
    uint64_t at = 0;
    for (const Extent& extent : extents) {
        for (uint64_t block = at / kPageSize;
             extent.zero && block < (at + extent.length) / kPageSize; ++block) {
            if (oracle_->may_hold(block, kZeros.data())) continue;
            world_.violation("extents: block " + std::to_string(block) + " is not zero");
            return;
        }
        at += extent.length;
    }
}

// After the last orderly stop nothing is damaged anywhere any more.
void VolumeScenario::audit() {
    for (Drive* drive : drives()) {
        // One that left at the very end, for errors of before, is found as after a crash.
        if (!in_sync_at_close_[saboteur_->member_of(*drive)]) continue;
        const std::string fault = audit_member(*drive);
        if (!fault.empty()) return world_.violation(fault);
    }
}

}  // namespace gemel::sim
