// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_env.h"

#include "ecc/checksum.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_stream.h"

namespace gemel::sim {

namespace {

constexpr uint64_t kWallClockOrigin = 1'700'000'000;
constexpr uint64_t kHandlesPerProcess = 1'000'000;

const Error kDead{Errc::closed, 0, "the process is dead"};

}  // namespace

SimEnv::SimEnv(SimWorld& world, uint32_t host, uint64_t pid, uint64_t seed)
    : world_(world),
      host_(host),
      id_{pid, world.now_ns(), {host + 1, world.boot_of(host)}},
      random_(seed) {}

bool SimEnv::turn() {
    if (!alive_ || !has_ready()) return false;
    run_ready();
    return true;
}

void SimEnv::expire() {
    if (alive_) expire_timers(now_ns());
}

uint64_t SimEnv::wall_clock_s() const { return kWallClockOrigin + now_ns() / kSecond; }

void SimEnv::log(LogLevel level, std::string_view text) {
    if (!alive_) return;
    if (level >= LogLevel::warning) world_.note_warning();
    world_.trace().event(now_ns(), TraceTag::log, {id_.pid, static_cast<uint64_t>(level)});
    world_.count_log(text);
    if (world_.trace().printing()) {
        world_.trace().line(now_ns(), "log " + std::to_string(id_.pid) + ": " + std::string(text));
    }
}

Outcome<std::unique_ptr<Disk>> SimEnv::open_disk(const std::string& path, DiskOptions options) {
    if (!alive_) return Problem{Errc::closed, path + ": the process is dead"};
    Drive* drive = world_.find_drive(path);
    if (drive == nullptr && !options.create) {
        return Problem{Errc::not_found, path + ": no such file or device; check the path"};
    }
    if (drive == nullptr) drive = &world_.add_drive({.path = path});
    const uint64_t handle = id_.pid * kHandlesPerProcess + handles_.size() + 1;
    handles_.push_back(handle);
    if (options.beside_owner) drive->admit_outsider(handle);
    return std::unique_ptr<Disk>(new SimDisk(*this, *drive, handle, options.read_only));
}

Status SimEnv::remove_file(const std::string& path) {
    if (!alive_) return kDead;
    if (!world_.remove(path)) return Error{Errc::not_found, 0, "unlink"};
    return Status::success();
}

Result<std::vector<std::byte>> SimEnv::read_file(const std::string& path, size_t limit) {
    const auto found = world_.files().find(path);
    if (found == world_.files().end()) return Error{Errc::not_found, 0, "open"};
    if (found->second.size() > limit) {
        return Error{Errc::corrupt, 0, "the file is longer than it can be"};
    }
    return found->second;
}

Status SimEnv::replace_file(const std::string& path, std::span<const std::byte> data) {
    if (!alive_) return kDead;
    Moment moment{MomentKind::replacing_file, this, nullptr, IoKind::write, 0, data.size()};
    world_.observe(moment);
    if (!alive_) return kDead;
    if (world_.file_writes_fail()) return Error{Errc::no_space, 0, "replacing a file"};
    world_.trace().event(now_ns(), TraceTag::file, {id_.pid, data.size(), ecc::hash64(data)});
    world_.files()[path].assign(data.begin(), data.end());
    moment.kind = MomentKind::replaced_file;
    world_.observe(moment);
    return Status::success();
}

Outcome<std::unique_ptr<Listener>> SimEnv::listen(const Address& address) {
    return SimListener::listen(*this, address);
}

Task<Result<std::unique_ptr<Stream>>> SimEnv::connect(Address address) {
    return connect_simulated(*this, std::move(address));
}

}  // namespace gemel::sim
