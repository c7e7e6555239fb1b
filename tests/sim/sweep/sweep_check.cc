// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sweep/sweep_check.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/sim/member_audit.h"

namespace gemel::sim {

using blockdev::kBlockSize;
using mirror::DamageCounts;
using mirror::MemberReport;
using mirror::ScrubReport;

namespace {

constexpr uint64_t kHealthSaved_ns = 2 * kSecond;  // After a scrub, into one slot.
constexpr uint64_t kPatience_ns = 600 * kSecond;

uint64_t sum(const DamageCounts& counts) {
    uint64_t all = 0;
    for (const uint64_t count : counts) all += count;
    return all;
}

// In pieces so small that hardly any memory is touched for the first time. Neither 2 nor 3 divides
// their number: over as many rounds each piece comes from each member once.
uint64_t piece_for(uint64_t size) {
    uint64_t blocks = 12;
    const auto pieces = [&] { return divide_up(size, blocks * kBlockSize); };
    while (pieces() % 2 == 0 || pieces() % 3 == 0) ++blocks;
    return blocks * kBlockSize;
}

}  // namespace

std::string SweepCheck::offline() {
    std::string fault = open();
    if (!fault.empty()) return fault;
    fault = read_all();
    if (fault.empty()) fault = scrub(false);
    if (fault.empty()) fault = scrub(true);
    told_ += told_by_members();
    const Status closed = world().close();
    if (fault.empty() && !closed.ok()) fault = "closing: " + closed.error().text();
    if (fault.empty()) fault = audit(true);
    return fault;
}

std::string SweepCheck::online() {
    SimWorld& world = state_.world().store.world;
    std::string fault = read_all();
    if (fault.empty()) fault = scrub(false);
    world.run_for(kHealthSaved_ns);
    if (fault.empty()) fault = scrub(true);
    world.run_for(kHealthSaved_ns);
    if (fault.empty()) fault = audit(false);
    return fault;
}

void SweepCheck::begin() {
    warnings_before_ = world().store.world.warnings();
    told_before_ = world().volume ? told_by_members() : 0;
    told_ = 0;
}

bool SweepCheck::was_told() const {
    const uint64_t now = world().volume ? told_by_members() : told_;
    return now != told_before_ || world().store.world.warnings() != warnings_before_;
}

uint64_t SweepCheck::told_by_members() const {
    uint64_t told = 0;
    for (const MemberReport& member : world().volume->report().members) {
        told += member.mismatches + member.blocks_healed + member.tables_repaired +
                member.log_blocks_healed;
    }
    return told;
}

std::string SweepCheck::open() {
    auto opened = world().try_open();
    if (!opened.ok()) return "it does not open: " + opened.error().text;
    world().volume = std::move(opened).value();
    std::string fault;
    for (const MemberReport& member : world().volume->report().members) {
        if (member.state != "in-sync") fault = member.path + " is " + member.state + member.why;
    }
    if (!fault.empty()) static_cast<void>(world().close());
    return fault;
}

std::string SweepCheck::read_all() {
    const uint64_t piece = piece_for(state_.size());
    const AlignedBytes buffer = allocate_aligned(piece);
    for (size_t round = 0; round < state_.members(); ++round) {
        for (uint64_t offset = 0; offset < state_.size(); offset += piece) {
            const std::span<std::byte> data(buffer.get(), std::min(piece, state_.size() - offset));
            const Status status = world().store.run(world().volume->read(offset, data));
            if (!status.ok()) {
                return "reading from " + std::to_string(offset) + ": " + status.error().text();
            }
            if (std::memcmp(data.data(), state_.content().data() + offset, data.size()) != 0) {
                return "wrong data from " + std::to_string(offset);
            }
        }
    }
    return {};
}

std::string SweepCheck::scrub(bool must_be_clean) {
    SimWorld& world = state_.world().store.world;
    mirror::Volume& volume = *state_.world().volume;
    const uint64_t passes = volume.report().scrub.passes;
    volume.scrub();
    const bool ended = world.run_until(
        [&] {
            const ScrubReport report = volume.report().scrub;
            return report.passes != passes && !report.running;
        },
        world.now_ns() + kPatience_ns);
    if (!world.first_violation().empty()) return world.first_violation();
    if (!ended) return "a scrub does not end";
    const mirror::VolumeReport report = volume.report();
    if (report.unrecoverable_blocks != 0) return "there are unrecoverable blocks";
    if (report.state != "serving") return "stopped: " + report.stopped_because;
    if (!must_be_clean) return {};
    const uint64_t found = sum(report.scrub.found) + report.scrub.blocks_healed +
                           report.scrub.tables_repaired + report.scrub.logs_healed;
    return found == 0 ? "" : "the second scrub finds something";
}

std::string SweepCheck::audit(bool closed) {
    for (size_t i = 0; i < state_.members(); ++i) {
        std::string fault = audit_member(world().drive(i), closed);
        if (fault.empty()) fault = check_home(i);
        if (!fault.empty()) return fault;
    }
    return {};
}

std::string SweepCheck::check_home(size_t member) {
    std::array<std::byte, kBlockSize> found;
    for (uint64_t block = 0; block < state_.layout().volume_blocks(); ++block) {
        const std::byte* right = state_.content().data() + block * kBlockSize;
        state_.platter(member).read(state_.layout().home(block), found);
        if (std::memcmp(right, found.data(), kBlockSize) == 0) continue;
        return "home of member " + std::to_string(member) + " differs at block " +
               std::to_string(block);
    }
    return {};
}

}  // namespace gemel::sim
