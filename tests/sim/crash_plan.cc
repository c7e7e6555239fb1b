// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/crash_plan.h"

namespace gemel::sim {

namespace {

struct Target {
    IoKind io;
    Region region;
    uint64_t often;  // About how many of them there are: how far to count.
};

constexpr Target kTargets[] = {
    {IoKind::write, Region::log, 200},        {IoKind::sync, Region::log, 30},
    {IoKind::write, Region::home, 200},       {IoKind::sync, Region::home, 8},
    {IoKind::punch, Region::home, 20},        {IoKind::zero, Region::home, 20},
    {IoKind::write, Region::checksums, 30},   {IoKind::sync, Region::checksums, 8},
    {IoKind::write, Region::index, 12},       {IoKind::sync, Region::index, 8},
    {IoKind::write, Region::superblock_a, 6}, {IoKind::sync, Region::superblock_a, 6},
    {IoKind::write, Region::superblock_b, 6}, {IoKind::sync, Region::superblock_b, 6},
    {IoKind::write, Region::owner, 3},        {IoKind::sync, Region::owner, 3},
    {IoKind::write, Region::file, 1},         {IoKind::read, Region::log, 30},
    {IoKind::read, Region::home, 100},
};

std::string place_text(MomentKind moment, IoKind io, Region region) {
    static constexpr const char* kMoments[] = {"before", "during", "after", "before", "after"};
    static constexpr const char* kIos[] = {"read", "write", "sync of", "punch", "zero"};
    return std::string(kMoments[static_cast<size_t>(moment)]) + " " +
           kIos[static_cast<size_t>(io)] + " " + name(region);
}

}  // namespace

const char* name(Region region) {
    static constexpr const char* kNames[kRegions] = {"superblock A", "owner",     "log",
                                                     "index",        "checksums", "superblock B",
                                                     "home",         "witness",   "unknown"};
    return kNames[static_cast<size_t>(region)];
}

const char* name(Phase phase) {
    static constexpr const char* kNames[] = {"create", "open", "scan", "serve", "recover", "close"};
    return kNames[static_cast<size_t>(phase)];
}

const char* name(CrashKind kind) {
    static constexpr const char* kNames[] = {"kill -9", "power loss, all members",
                                             "power loss, some members"};
    return kNames[static_cast<size_t>(kind)];
}

Region region_at(const blockdev::Layout& layout, uint64_t offset) {
    if (offset < blockdev::kOwnerOffset) return Region::superblock_a;
    if (offset < blockdev::kLogOffset) return Region::owner;
    if (offset < blockdev::kLogOffset + layout.log_size) return Region::log;
    if (offset >= layout.home_offset) return Region::home;
    if (offset >= layout.superblock_b_offset) return Region::superblock_b;
    if (offset >= layout.checksum_offset) return Region::checksums;
    return Region::index;
}

// Half of them reach everything: they show most.
CrashKind draw_crash_kind(Random& random) {
    static constexpr CrashKind kKinds[] = {CrashKind::kill, CrashKind::power_everywhere,
                                           CrashKind::power_everywhere, CrashKind::power_somewhere};
    return kKinds[random.below(std::size(kKinds))];
}

CrashPlan draw_crash_plan(Random& random, uint64_t now_ns) {
    CrashPlan plan;
    plan.kind = draw_crash_kind(random);
    if (random.chance(kCertain / 8)) {
        plan.at_ns = now_ns + random.skewed(1, 4 * kSecond);
        return plan;
    }
    const Target& target = kTargets[random.below(std::size(kTargets))];
    plan.io = target.io;
    plan.region = target.region;
    plan.countdown = random.skewed(1, target.often);
    if (target.region == Region::file) {
        plan.moment = random.coin() ? MomentKind::replacing_file : MomentKind::replaced_file;
    } else {
        plan.moment = static_cast<MomentKind>(random.below(3));
    }
    static constexpr Phase kFrom[] = {Phase::open, Phase::serve, Phase::serve, Phase::close};
    plan.from = kFrom[random.below(std::size(kFrom))];
    return plan;
}

std::vector<std::string> crash_places() {
    std::vector<std::string> places;
    for (const Target& target : kTargets) {
        for (const MomentKind moment :
             {MomentKind::submitting, MomentKind::submitted, MomentKind::completing}) {
            if (target.region == Region::file && moment == MomentKind::submitted) continue;
            places.push_back(place_text(moment, target.io, target.region));
        }
    }
    return places;
}

Region CrashWatcher::region_of(const Moment& moment) {
    if (moment.drive == nullptr) return Region::file;
    if (moment.io == IoKind::sync) {
        const auto found = last_changed_.find(moment.drive);
        return found == last_changed_.end() ? Region::unknown : found->second;
    }
    const Region region = layout_ ? region_at(*layout_, moment.offset) : Region::unknown;
    if (moment.io != IoKind::read) last_changed_[moment.drive] = region;
    return region;
}

bool CrashWatcher::observe(const Moment& moment) {
    last_ = moment;
    last_region_ = region_of(moment);
    if (!plan_ || plan_->at_ns || phase_ < plan_->from || phase_ == Phase::scan) return false;
    if (moment.kind != plan_->moment || last_region_ != plan_->region) return false;
    if (moment.drive != nullptr && moment.io != plan_->io) return false;
    return --plan_->countdown == 0;
}

std::string CrashWatcher::place() const {
    return std::string(name(phase_)) + ": " + place_text(last_.kind, last_.io, last_region_);
}

}  // namespace gemel::sim
