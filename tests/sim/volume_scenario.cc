// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/volume_scenario.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "blockdev/bytes.h"
#include "tests/sim/sim_env.h"

namespace gemel::sim {

using blockdev::kMiB;
using mirror::Volume;

namespace {

constexpr uint64_t kOpenLimitNs = 300 * kSecond;
constexpr uint64_t kServeLimitNs = 200'000 * kSecond;
constexpr uint64_t kCloseLimitNs = 300 * kSecond;
constexpr uint64_t kScrubLimitNs = 20'000 * kSecond;
// The longest wait between two attempts to reopen a member, and the resync.
constexpr uint64_t kRecoverLimitNs = 300 * kSecond;

uint64_t draw_size(Random& random) {
    static constexpr uint64_t kLargest[] = {64 << 10, 4 << 20, 16 << 20, 64 << 20};
    const uint64_t size = random.skewed(1, kLargest[random.below(4)]);
    return round_up(size, kPageSize);
}

}  // namespace

VolumeScenario::VolumeScenario(const ScenarioOptions& options)
    : options_(options),
      world_({.seed = options.seed,
              .printing = options.printing,
              .tick_ns = options.seed % 3 == 0 ? 50'000u : 1u}),
      random_(world_.random().fork()) {}

// After a crash the product's objects are garbage that must not be touched; see leaks.cc.
VolumeScenario::~VolumeScenario() = default;

std::string VolumeScenario::member_path(size_t index) const {
    return "/members/" + std::string(1, static_cast<char>('a' + index)) + ".img";
}

std::vector<Drive*> VolumeScenario::drives() {
    std::vector<Drive*> found;
    for (const std::string& path : create_options_.members) {
        if (Drive* drive = world_.find_drive(path); drive != nullptr) found.push_back(drive);
    }
    return found;
}

void VolumeScenario::draw_world() {
    create_options_.name = "volume";
    create_options_.size = draw_size(random_);
    create_options_.witness_path = "/volume.witness";
    create_options_.log_size = kMiB * (random_.coin() ? 4 : random_.between(4, 8));
    static constexpr uint64_t kLimits[] = {4 << 10, 64 << 10, 64 << 10, 512 << 10};
    create_options_.log_limit = kLimits[random_.below(4)];
    if (random_.coin()) create_options_.max_size = create_options_.size;
    create_options_.preallocate = random_.chance(kCertain / 8);
    open_options_.cache_bytes = random_.coin() ? 64 * kMiB : random_.skewed(4096, kMiB);
    mix_ = draw_fault_mix(random_, options_.faults);
    // Whom its errors make leave, while others are damaged, is beyond what the budget knows of.
    if (mix_.any()) open_options_.limits.errors = 1e9;
    const uint64_t members = random_.chance(kCertain * 2 / 3) ? 2 : 3;
    const bool devices = random_.chance(kCertain / 4);
    const bool is_short = !devices && random_.chance(kCertain / 6);
    if (is_short && options_.faults.has(FaultClass::short_space)) {
        space_ = std::make_unique<ShortSpace>(world_);
    }
    DriveLatency latency;
    latency.base_ns = random_.skewed(1'000, 200'000);
    latency.spread_ns = random_.skewed(1, 1'000'000);
    latency.sync_ns = random_.skewed(1'000, 4'000'000);
    latency.slow_rate = random_.coin() ? 0 : 5'000;
    latency.two_step_rate = static_cast<uint32_t>(random_.below(kCertain));
    for (size_t i = 0; i < members; ++i) {
        create_options_.members.push_back(member_path(i));
        DriveOptions drive;
        drive.path = member_path(i);
        drive.is_block_device = devices;
        drive.size = devices ? 5 * create_options_.size + 64 * kMiB : 0;
        drive.file_system = space_ ? &space_->file_system() : nullptr;
        world_.add_drive(drive).latency = latency;
        // Members differ in speed, so that one runs ahead of the other.
        if (random_.coin()) latency.base_ns *= random_.between(1, 10);
    }
}

void VolumeScenario::start_process() { process_ = new ScenarioProcess(world_.start_process()); }

bool VolumeScenario::run_phase(const std::function<bool()>& done, uint64_t limit_ns) {
    SimEnv& env = process_->env;
    const bool timed = watcher_.armed() && watcher_.plan().at_ns && watcher_.phase() != Phase::scan;
    const uint64_t crash_ns = timed ? *watcher_.plan().at_ns : UINT64_MAX;
    const uint64_t end = std::min(world_.now_ns() + limit_ns, crash_ns);
    if (world_.run_until([&] { return !env.alive() || done(); }, end)) return env.alive();
    if (!world_.first_violation().empty()) return false;
    if (world_.now_ns() >= crash_ns) {
        crash(watcher_.plan().kind);
    } else {
        world_.violation(std::string("no progress: ") + name(watcher_.phase()) +
                         " does not come to its end");
    }
    return false;
}

void VolumeScenario::crash(CrashKind kind) {
    report_.count("crashes");
    report_.count(std::string("crash, ") + name(kind));
    report_.count("crash at " + watcher_.place());
    if (world_.trace().printing()) {
        world_.trace().line(world_.now_ns(),
                            std::string("CRASH ") + name(kind) + " at " + watcher_.place());
    }
    watcher_.disarm();
    std::vector<Drive*> losing = drives();
    if (kind == CrashKind::kill) losing.clear();
    if (kind == CrashKind::power_somewhere) {
        losing.erase(losing.begin() + static_cast<std::ptrdiff_t>(random_.below(losing.size())));
    }
    // What one member still holds, settlement gives to all, unless that one loses power meanwhile.
    if (saboteur_) {  // Else there is no volume yet.
        for (const Drive* drive : losing) lost_power_ |= 1u << saboteur_->member_of(*drive);
        lost_power_ |= outages_->out();
        saboteur_->end_online();
        outages_->end_life();
    }
    loss_ = std::max(loss_, Loss::unanswered);
    if (kind == CrashKind::kill) {
        world_.kill(process_->env);
    } else {
        world_.lose_power(0, losing);
    }
}

bool VolumeScenario::create() {
    watcher_.set_phase(Phase::create);
    for (bool again = false;; again = true) {
        const bool crashes = !again && random_.chance(kCertain / 10);
        if (crashes && options_.faults.has(FaultClass::crash)) {
            CrashPlan plan;
            plan.kind = random_.coin() ? CrashKind::kill : CrashKind::power_everywhere;
            plan.at_ns = world_.now_ns() + random_.skewed(1, 20 * kMillisecond);
            watcher_.arm(plan);
        }
        start_process();
        mirror::CreateOptions options = create_options_;
        options.force = again;
        process_->scope.start(process_->create(options));
        if (run_phase([this] { return process_->created.has_value(); }, kOpenLimitNs)) break;
        if (!world_.first_violation().empty()) return false;
    }
    watcher_.disarm();
    if (!process_->created->ok()) {
        world_.violation("create: " + process_->created->error().text);
        return false;
    }
    description_ = process_->created->value();
    const auto superblock = blockdev::make_superblock_buffer();
    world_.find_drive(member_path(0))->platter().read(0, writable_bytes_of(*superblock));
    layout_ = blockdev::layout_of(*superblock);
    watcher_.set_layout(layout_);
    oracle_ = std::make_unique<Oracle>(create_options_.size, create_options_.log_limit);
    loss_ = Loss::nothing;
    lost_power_ = 0;
    saboteur_ = std::make_unique<Saboteur>(world_, mix_, drives(), layout_, report_);
    outages_ = std::make_unique<Outages>(world_, mix_, drives(), saboteur_->budget(), report_);
    // The creating process goes away; power loss right after it must not matter.
    if (random_.coin()) {
        world_.lose_power(0, drives());
    } else {
        world_.kill(process_->env);
    }
    return true;
}

bool VolumeScenario::open() {
    watcher_.set_phase(Phase::open);
    process_->scope.start(process_->open(description_, open_options_));
    if (!run_phase([this] { return process_->opened.has_value(); }, kOpenLimitNs)) return false;
    if (!process_->opened->ok() && space_ && process_->opened->error().code == Errc::no_space) {
        report_.count("opens refused for lack of space");
        if (random_.coin()) space_->make_plenty();
        world_.kill(process_->env);
        return false;
    }
    if (!process_->opened->ok()) {
        world_.violation("open: " + process_->opened->error().text);
        return false;
    }
    process_->volume = std::move(*process_->opened).value();
    outages_->begin_life(*process_);
    // Only what no flush covered may be gone where each log was damaged or has lost its power.
    const uint32_t everybody = (1u << create_options_.members.size()) - 1;
    const uint32_t gone = lost_power_ | saboteur_->budget().damaged_logs();
    if (loss_ != Loss::nothing && gone == everybody) loss_ = Loss::unflushed;
    saboteur_->budget().log_is_settled();
    saboteur_->note_unreadable_logs();
    in_sync_at_open_ = outages_->in_sync();
    return true;
}

bool VolumeScenario::scan() {
    watcher_.set_phase(Phase::scan);
    oracle_->begin_resolving();
    std::vector<Extent> extents;
    process_->scope.start(process_->scan(*oracle_, extents));
    if (!run_phase([this] { return process_->scanned; }, kOpenLimitNs)) return false;
    const uint64_t lost = oracle_->lost_calls();
    const std::string fault = oracle_->finish_resolving(loss_);
    if (!fault.empty()) {
        world_.violation("after a crash: " + fault);
        return false;
    }
    report_.count("calls legally undone by a crash", oracle_->lost_calls() - lost);
    loss_ = Loss::nothing;
    lost_power_ = 0;
    check_extents(extents);
    // Settlement has brought everything home, on those that were in sync.
    check_homes(in_sync_at_open_);
    return world_.first_violation().empty();
}

bool VolumeScenario::serve() {
    watcher_.set_phase(Phase::serve);
    WorkloadOptions workload = draw_workload(random_, create_options_.size);
    workload.space_is_short = space_ != nullptr;
    process_->workload =
        std::make_unique<Workload>(process_->env, *process_->volume, *oracle_, workload, report_);
    const size_t before = process_->scope.running();
    process_->workload->start(process_->scope);
    ScenarioProcess& process = *process_;
    if (!run_phase([&process, before] { return process.scope.running() == before; },
                   kServeLimitNs)) {
        return false;
    }
    if (random_.coin()) idle();
    return process_->env.alive() && world_.first_violation().empty();
}

// Time in which only the volume itself does something: points logged, the log brought home.
void VolumeScenario::idle() {
    const uint64_t until = world_.now_ns() + random_.skewed(1, 4 * kSecond);
    SimEnv& env = process_->env;
    world_.run_until([&env] { return !env.alive(); }, until);
}

void VolumeScenario::close(bool last) {
    watcher_.set_phase(Phase::close);
    const bool hurries = random_.chance(kCertain / 8) && !last;
    const uint64_t patience = hurries ? kMillisecond : kCloseLimitNs;
    process_->scope.start(process_->close(world_.now_ns() + patience));
    if (!run_phase([this] { return process_->closed.has_value(); }, 2 * kCloseLimitNs)) return;
    const std::vector<bool> in_sync = outages_->in_sync();
    in_sync_at_close_ = in_sync;
    const bool drained = process_->closed->ok();
    const bool full = !drained && space_ && process_->closed->error().code == Errc::no_space;
    if (!drained && !full && process_->closed->error().code != Errc::timed_out) {
        world_.violation("close: " + process_->closed->error().text());
    }
    watcher_.disarm();
    saboteur_->end_online();
    lost_power_ |= outages_->out();
    outages_->end_life();
    report_.count(drained ? "stops in order" : "stops before the log was empty");
    loss_ = std::max(loss_, drained ? Loss::nothing : Loss::unanswered);
    if (drained) oracle_->stopped();
    if (drained && world_.first_violation().empty()) check_homes(in_sync);
    world_.kill(process_->env);
}

// Once nothing fails any more every member returns, in bounded time.
bool VolumeScenario::recover() {
    saboteur_->end_online();
    saboteur_->spoil_requests(false);
    outages_->end_all();
    if (space_) space_->make_plenty();
    return run_phase([this] { return outages_->all_in_sync(); }, kRecoverLimitNs);
}

// All damage is found and healed by a scrub, and a second one finds nothing.
bool VolumeScenario::verify() {
    watcher_.set_phase(Phase::recover);
    if (!recover()) return false;
    if (!mix_.any()) return true;
    for (const bool second : {false, true}) {
        process_->scope.start(process_->scrub());
        if (!run_phase([this] { return process_->scrubbed.has_value(); }, kScrubLimitNs)) {
            return false;
        }
        const mirror::ScrubReport& pass = *process_->scrubbed;
        const uint64_t healed = pass.blocks_healed + pass.tables_repaired + pass.logs_healed;
        if (second && healed != 0) {
            world_.violation("a second scrub heals " + std::to_string(pass.blocks_healed) +
                             " blocks, " + std::to_string(pass.tables_repaired) + " tables, " +
                             std::to_string(pass.logs_healed) + " logs");
        }
        report_.count("scrubs");
    }
    if (process_->volume->report().unrecoverable_blocks != 0) {
        world_.violation("blocks are unrecoverable, and a good copy of each was left");
    }
    saboteur_->budget().healed();
    saboteur_->note_unreadable_logs();
    return world_.first_violation().empty();
}

// The same blocks are damaged on all members.
bool VolumeScenario::lose_blocks() {
    if (!mix_.has(FaultClass::no_copy_left) || !mix_.any()) return true;
    process_->scope.start(process_->drain());
    if (!run_phase([this] { return process_->drained; }, kScrubLimitNs)) return false;
    std::set<uint64_t> lost;
    for (uint64_t tries = random_.skewed(1, 40); tries > 0; --tries) {
        const uint64_t block = random_.below(layout_.volume_blocks());
        if (!lost.contains(block) && saboteur_->strike_everywhere(block)) lost.insert(block);
    }
    if (lost.empty()) return true;
    report_.count("blocks lost on all members", lost.size());
    process_->scope.start(process_->probe_lost(*oracle_, lost, random_.next()));
    if (!run_phase([this] { return process_->probed; }, kScrubLimitNs)) return false;
    return verify();
}

void VolumeScenario::live(bool last) {
    saboteur_->spoil_requests(true);
    saboteur_->strike_offline();
    if (random_.coin()) saboteur_->remember();
    start_process();
    watcher_.disarm();  // The plan of a life that could not begin is not this one's.
    const bool crashes =
        !last && !random_.chance(kCertain / 5) && options_.faults.has(FaultClass::crash);
    if (crashes) watcher_.arm(draw_crash_plan(random_, world_.now_ns()));
    const CrashKind late_kind = draw_crash_kind(random_);
    if (space_ && last) space_->make_plenty();
    if (space_ && !last) space_->begin();
    if (!open()) return;
    saboteur_->begin_online();
    if (!scan() || !serve()) return;
    check_report();
    if (!world_.first_violation().empty()) return;
    const bool looks_closely = last || random_.chance(kCertain / 4);
    if (looks_closely && !verify()) return;
    if (last && !lose_blocks()) return;
    if (!last) {
        saboteur_->spoil_requests(true);
        saboteur_->begin_online();
        if (looks_closely) outages_->begin_life(*process_);
    }
    const bool crash_idle = crashes && (!watcher_.armed() || watcher_.plan().from != Phase::close);
    if (crash_idle) return crash(late_kind);
    close(last);
    if (last && world_.first_violation().empty()) audit();
}

SeedReport VolumeScenario::run() {
    draw_world();
    world_.watch([this](const Moment& moment) {
        if (watcher_.observe(moment)) crash(watcher_.plan().kind);
    });
    const uint64_t lives = random_.between(1, 6);
    if (create()) {
        for (uint64_t life = 1; life <= lives && world_.first_violation().empty(); ++life) {
            live(life == lives);
            report_.count("lives");
            if (random_.coin()) continue;
            world_.run_for(random_.skewed(1, 100 * kMillisecond));
        }
    }
    finish_report();
    return report_;
}

void VolumeScenario::finish_report() {
    if (!world_.first_violation().empty()) report_.fail(world_.first_violation());
    report_.trace_hash = world_.trace().hash();
    report_.count("seeds");
    for (const auto& [what, times] : world_.log_counts()) report_.count("event " + what, times);
    report_.count("events", world_.trace().events());
    report_.count("members", create_options_.members.size());
}

}  // namespace gemel::sim
