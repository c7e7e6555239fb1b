// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/outages.h"

#include <algorithm>
#include <string>

namespace gemel::sim {

namespace {

constexpr uint64_t kLongest_ns = 20 * kSecond;
constexpr uint64_t kShortest_ns = kMillisecond;
// What was under way when an outage ended may still fail, since its fate was drawn when it was
// submitted: the slowest request here takes 50 ms. And a watchdog that has seen an overdue one, or
// too many errors, looks every 125 ms. Four times that, for what waits for these in turn.
constexpr uint64_t kFelt_ns = 500 * kMillisecond;
// What a slow drive has been asked it still answers slowly, and it is judged by that.
constexpr uint64_t kSlownessFelt_ns = 6 * kSecond;
constexpr uint64_t kSlownessShortest_ns = kSecond;  // Shorter, and nobody would leave for it.
constexpr uint64_t kSlownessMin = 20;
constexpr uint64_t kSlownessMax = 200;

}  // namespace

Outages::Outages(SimWorld& world, const FaultMix& mix, std::vector<Drive*> drives,
                 FaultBudget& budget, SeedReport& report)
    : world_(world),
      mix_(mix),
      drives_(std::move(drives)),
      budget_(budget),
      report_(report),
      random_(world.random().fork()),
      outages_(drives_.size()) {}

void Outages::begin_life(ScenarioProcess& process) {
    process_ = &process;
    active_ = mix_.outage_interval_ns_max != 0;
    look();
    schedule();
}

// What lies outside the process goes on: a drive that is dead may stay so over a restart, as long
// as the others have what it has.
void Outages::end_life() {
    process_ = nullptr;
    active_ = false;
    for (size_t i = 0; i < drives_.size(); ++i) {
        const bool stays = outages_[i].kind == FaultClass::dead && random_.coin();
        if (!stays) cure(i);
    }
}

void Outages::end_all() {
    active_ = false;
    for (size_t i = 0; i < drives_.size(); ++i) {
        cure(i);
        // One that is by nature far slower than the others would rightly not be waited for.
        drives_[i]->latency = drives_[0]->latency;
        if (process_ == nullptr || !process_->volume) continue;
        if (process_->volume->report().members[i].state != "offline") continue;
        process_->operators.start(process_->bring_online(i));
    }
}

std::vector<bool> Outages::in_sync() const {
    std::vector<bool> in_sync(drives_.size());
    if (process_ == nullptr || !process_->volume) return in_sync;
    const mirror::VolumeReport report = process_->volume->report();
    for (size_t i = 0; i < drives_.size(); ++i) {
        in_sync[i] = report.members[i].state == "in-sync";
    }
    return in_sync;
}

bool Outages::all_in_sync() {
    look();
    const std::vector<bool> in_sync = this->in_sync();
    return std::all_of(in_sync.begin(), in_sync.end(), [](bool member) { return member; });
}

// Out from the beginning of an outage on, until it is over and the volume says in sync.
void Outages::look() {
    if (process_ == nullptr || !process_->volume) return;
    out_ = 0;
    const std::vector<bool> in_sync = this->in_sync();
    for (size_t i = 0; i < drives_.size(); ++i) {
        const bool felt = world_.now_ns() < outages_[i].felt_until_ns;
        if (outages_[i].kind || felt || !in_sync[i]) out_ |= 1u << i;
    }
    budget_.set_out(out_);
}

void Outages::schedule() {
    if (!active_ || scheduled_) return;
    scheduled_ = true;
    world_.schedule_at(world_.now_ns() + random_.skewed(1, mix_.outage_interval_ns_max), *this);
}

void Outages::happen() {
    scheduled_ = false;
    if (!active_ || process_ == nullptr || !process_->env.alive()) return;
    look();
    for (size_t i = 0; i < drives_.size(); ++i) {
        if (outages_[i].kind && outages_[i].until_ns <= world_.now_ns()) end(i);
    }
    if (process_ == nullptr) return;  // What an operator did may have met a crash.
    const size_t member = random_.below(drives_.size());
    if (!outages_[member].kind && may_begin(member)) begin(member);
    schedule();
}

// Somebody else must be there with everything, and of everything.
bool Outages::may_begin(size_t member) const {
    const uint32_t everybody = (1u << drives_.size()) - 1;
    const uint32_t after = out_ | 1u << member;
    return after != everybody && budget_.may_go_out(member);
}

void Outages::begin(size_t member) {
    Random random = random_.fork();
    const auto kind = mix_.draw(random, FaultClass::hang, FaultClass::operators);
    uint64_t lasts = random.skewed(kShortest_ns, kLongest_ns);
    const auto rate = static_cast<uint32_t>(random.skewed(1'000, kCertain));
    if (!kind) return;
    if (kind == FaultClass::slow) lasts = random.between(kSlownessShortest_ns, kLongest_ns);
    Drive& drive = *drives_[member];
    outages_[member] = {kind, world_.now_ns() + lasts, 0};
    out_ |= 1u << member;
    budget_.set_out(out_);
    report_.count("faults");
    report_.count(std::string("outage, ") + name(*kind));
    world_.trace().event(world_.now_ns(), TraceTag::scenario,
                         {static_cast<uint64_t>(*kind), member});
    if (world_.trace().printing()) {
        world_.trace().line(world_.now_ns(),
                            std::string("OUTAGE ") + name(*kind) + " of " + drive.options().path);
    }
    switch (*kind) {
        case FaultClass::hang: drive.faults.hung = true; break;
        case FaultClass::dead: drive.faults.dead = true; break;
        case FaultClass::slow:
            drive.faults.slowness = random.skewed(kSlownessMin, kSlownessMax);
            break;
        case FaultClass::failing:
            drive.faults.write_error_rate = rate;
            if (random.coin()) drive.faults.sync_error_rate = rate;
            if (random.coin()) drive.faults.read_error_rate = rate;
            break;
        default: process_->operators.start(process_->take_offline(member)); break;
    }
}

void Outages::end(size_t member) {
    const bool by_operator = outages_[member].kind == FaultClass::operators;
    cure(member);
    if (world_.trace().printing()) {
        world_.trace().line(world_.now_ns(), "OUTAGE over of " + drives_[member]->options().path);
    }
    if (by_operator) process_->operators.start(process_->bring_online(member));
}

void Outages::cure(size_t member) {
    DriveFaults& faults = drives_[member]->faults;
    if (faults.hung) drives_[member]->release();
    faults.dead = false;
    faults.slowness = 1;
    faults.write_error_rate = 0;
    faults.sync_error_rate = 0;
    faults.read_error_rate = 0;
    if (outages_[member].kind) {
        const bool was_slow = outages_[member].kind == FaultClass::slow;
        outages_[member].felt_until_ns = world_.now_ns() + (was_slow ? kSlownessFelt_ns : kFelt_ns);
    }
    outages_[member].kind.reset();
}

}  // namespace gemel::sim
