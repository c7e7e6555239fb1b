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
constexpr uint64_t kScanPiece = 256 << 10;
constexpr std::array<std::byte, kPageSize> kZeros{};

uint64_t draw_size(Random& random) {
    static constexpr uint64_t kLargest[] = {64 << 10, 4 << 20, 16 << 20, 64 << 20};
    const uint64_t size = random.skewed(1, kLargest[random.below(4)]);
    return round_up(size, kPageSize);
}

}  // namespace

struct VolumeScenario::Process {
    explicit Process(SimEnv& simulated) : env(simulated), scope(simulated) {}

    SimEnv& env;
    Scope scope;
    std::optional<Outcome<mirror::VolumeDescription>> created;
    std::optional<Outcome<std::unique_ptr<Volume>>> opened;
    std::unique_ptr<Volume> volume;
    std::unique_ptr<Workload> workload;
    bool scanned = false;
    std::optional<Status> closed;

    Task<void> create(mirror::CreateOptions options) {
        created.emplace(co_await mirror::create_volume(env, std::move(options)));
    }
    Task<void> open(mirror::VolumeDescription description, mirror::OpenOptions options) {
        opened.emplace(co_await mirror::open_volume(env, std::move(description), options));
    }
    Task<void> close(uint64_t deadline_ns) { closed = co_await volume->close(deadline_ns); }
    Task<void> scan(Oracle& oracle, std::vector<Extent>& extents);
};

// Reads all of the volume; what was found is what it holds from now on.
Task<void> VolumeScenario::Process::scan(Oracle& oracle, std::vector<Extent>& extents) {
    const AlignedBytes memory = allocate_aligned(kScanPiece);
    for (uint64_t at = 0; at < oracle.size() && env.alive(); at += kScanPiece) {
        const uint64_t length = std::min(kScanPiece, oracle.size() - at);
        const std::span<std::byte> data(memory.get(), length);
        const Status status = co_await volume->read(at, data);
        if (!status.ok()) env.world().violation("scan: " + status.error().text());
        if (!status.ok()) co_return;
        oracle.found(at, data);
    }
    for (uint64_t at = 0; at < oracle.size() && env.alive();) {
        auto found = co_await volume->extents(at, oracle.size() - at, 100);
        if (!found.ok() || found.value().empty()) {
            env.world().violation("extents: none at " + std::to_string(at));
            co_return;
        }
        for (const Extent& extent : found.value()) {
            extents.push_back(extent);
            at += extent.length;
        }
    }
    scanned = true;
}

VolumeScenario::VolumeScenario(uint64_t seed, bool printing)
    : world_({.seed = seed, .printing = printing, .tick_ns = seed % 3 == 0 ? 50'000u : 1u}),
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
    // Nobody is excluded here: what that leaves behind is not what the checks below expect.
    open_options_.limits.errors = 1e9;
    open_options_.cache_bytes = random_.coin() ? 64 * kMiB : random_.skewed(4096, kMiB);
    const uint64_t members = random_.chance(kCertain * 2 / 3) ? 2 : 3;
    const bool devices = random_.chance(kCertain / 4);
    if (!devices && random_.chance(kCertain / 6)) space_ = std::make_unique<ShortSpace>(world_);
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

void VolumeScenario::start_process() { process_ = new Process(world_.start_process()); }

// Blocks rot, or cannot be read any more, on one member, while nobody looks.
void VolumeScenario::damage() {
    for (uint64_t count = random_.skewed(1, 20); count > 0; --count) {
        uint64_t block = random_.below(layout_.volume_blocks());
        // Rather one that holds something.
        for (int tries = 0; tries < 20 && oracle_->may_hold(block, kZeros.data()); ++tries) {
            block = random_.below(layout_.volume_blocks());
        }
        const uint64_t offset = layout_.home(block);
        damaged_blocks_.insert(block);
        if (random_.coin()) {
            damaged_->faults.unreadable_pages.insert(offset / kPageSize);
        } else {
            const uint64_t rubbish = random_.next();
            damaged_->platter().tamper(offset + random_.below(kPageSize - sizeof rubbish),
                                       bytes_of(rubbish));
        }
        report_.count("blocks damaged on one member");
    }
}

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
    for (const Drive* drive : losing) lost_power_.insert(drive->number());
    loss_ =
        lost_power_.size() == create_options_.members.size() ? Loss::unflushed : Loss::unanswered;
    if (kind == CrashKind::kill) {
        world_.kill(process_->env);
    } else {
        world_.lose_power(0, losing);
    }
}

bool VolumeScenario::create() {
    watcher_.set_phase(Phase::create);
    for (bool again = false;; again = true) {
        if (!again && random_.chance(kCertain / 10)) {
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
    blockdev::GeometryRecord geometry;
    world_.find_drive(member_path(0))
        ->platter()
        .read(offsetof(blockdev::Superblock, geometry), writable_bytes_of(geometry));
    layout_ = blockdev::from_record(geometry);
    watcher_.set_layout(layout_);
    oracle_ = std::make_unique<Oracle>(create_options_.size, create_options_.log_limit);
    loss_ = Loss::nothing;
    lost_power_.clear();
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
    lost_power_.clear();
    check_extents(extents);
    // Settlement has brought everything home.
    check_homes();
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
    Process& process = *process_;
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

void VolumeScenario::close() {
    watcher_.set_phase(Phase::close);
    const uint64_t patience = random_.chance(kCertain / 8) ? kMillisecond : kCloseLimitNs;
    process_->scope.start(process_->close(world_.now_ns() + patience));
    if (!run_phase([this] { return process_->closed.has_value(); }, 2 * kCloseLimitNs)) return;
    const bool drained = process_->closed->ok();
    const bool full = !drained && space_ && process_->closed->error().code == Errc::no_space;
    if (!drained && !full && process_->closed->error().code != Errc::timed_out) {
        world_.violation("close: " + process_->closed->error().text());
    }
    watcher_.disarm();
    report_.count(drained ? "stops in order" : "stops before the log was empty");
    loss_ = std::max(loss_, drained ? Loss::nothing : Loss::unanswered);
    if (drained) oracle_->stopped();
    if (drained && world_.first_violation().empty()) check_homes();
    world_.kill(process_->env);
}

void VolumeScenario::check_report() {
    const mirror::VolumeReport volume = process_->volume->report();
    if (volume.state != "serving") world_.violation("stopped: " + volume.stopped_because);
    report_.count("checkpoints", volume.checkpoints);
    report_.count("batches", volume.batches);
    for (const mirror::MemberReport& member : volume.members) {
        const bool expected = damaged_ != nullptr && member.path == damaged_->options().path;
        report_.count("mismatches masked", expected ? member.mismatches : 0);
        report_.count("read errors masked", expected ? member.read_errors : 0);
        if (member.write_errors == 0 && expected) continue;
        if (member.mismatches + member.read_errors + member.write_errors == 0) continue;
        world_.violation(member.path + ": damage seen where there is none: mismatches=" +
                         std::to_string(member.mismatches));
    }
}

// Every member's home, as it lies on the platter, is the content of the volume.
void VolumeScenario::check_homes() {
    std::array<std::byte, kPageSize> found;
    for (Drive* drive : drives()) {
        for (uint64_t block = 0; block < layout_.volume_blocks(); ++block) {
            drive->platter().read(layout_.home(block), found);
            if (oracle_->may_hold(block, found.data())) continue;
            if (drive == damaged_ && damaged_blocks_.contains(block)) continue;
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

void VolumeScenario::live(bool last) {
    start_process();
    const bool crashes = !last && !random_.chance(kCertain / 5);
    if (crashes) watcher_.arm(draw_crash_plan(random_, world_.now_ns()));
    const CrashKind late_kind = draw_crash_kind(random_);
    if (damaged_ != nullptr && random_.coin()) damage();
    if (space_ && last) space_->make_plenty();
    if (space_ && !last) space_->begin();
    if (!open() || !scan()) return;
    if (!serve()) return;
    check_report();
    if (!world_.first_violation().empty()) return;
    const bool crash_idle = crashes && (!watcher_.armed() || watcher_.plan().from != Phase::close);
    if (crash_idle) return crash(late_kind);
    close();
}

SeedReport VolumeScenario::run() {
    draw_world();
    world_.watch([this](const Moment& moment) {
        if (watcher_.observe(moment)) crash(watcher_.plan().kind);
    });
    const uint64_t lives = random_.between(1, 6);
    if (create()) {
        if (random_.chance(kCertain / 6)) damaged_ = drives()[random_.below(drives().size())];
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
    report_.count("events", world_.trace().events());
    report_.count("members", create_options_.members.size());
}

}  // namespace gemel::sim
