// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <vector>

#include "blockdev/bytes.h"
#include "tests/sim/sim_env.h"

namespace gemel::sim {

namespace {

constexpr uint64_t kProbeSize = 1 << 20;
constexpr uint64_t kPlenty = uint64_t{1} << 50;

}  // namespace

SimDisk::SimDisk(SimEnv& process, Drive& drive, uint64_t handle, bool read_only)
    : process_(process), drive_(drive), handle_(handle) {
    traits_.path = drive.options().path;
    traits_.is_block_device = drive.options().is_block_device;
    traits_.direct = drive.options().direct;
    traits_.read_only = read_only;
    traits_.file_system = std::hash<std::string>{}(traits_.path);  // Each has its own.
}

SimDisk::~SimDisk() {
    // A dead process closes nothing: what it had in flight keeps its locks.
    if (process_.alive()) drive_.closed(handle_);
}

void SimDisk::submit(IoRequest& request) {
    CHECK(!traits_.read_only || request.kind == IoKind::read);
    drive_.submit(process_, handle_, request);
}

uint64_t SimDisk::size() const { return drive_.platter().size(); }

Result<uint64_t> SimDisk::free_bytes() const {
    if (traits_.is_block_device) return UINT64_MAX;
    const FileSystem* space = drive_.options().file_system;
    if (space == nullptr || space->capacity_pages == UINT64_MAX) return kPlenty;
    return space->free_pages() * kPageSize;
}

Result<bool> SimDisk::is_blank() {
    if (drive_.faults.dead) return Error{Errc::io, 0, "the drive is dead"};
    if (!traits_.is_block_device) return drive_.platter().all_holes();
    const uint64_t length = std::min(size(), kProbeSize);
    std::vector<std::byte> probe(length);
    for (uint64_t offset : {uint64_t{0}, size() - length}) {
        drive_.platter().read(offset, probe);
        if (!all_zero(probe)) return false;
    }
    return true;
}

// Durable at once: creation is not where a simulated crash searches for trouble.
Status SimDisk::resize(uint64_t size) {
    if (!process_.alive()) return Error{Errc::closed, 0, "resize"};
    if (!traits_.is_block_device) {
        drive_.platter().resize(size);
    } else if (size > drive_.platter().size()) {
        return Error{Errc::no_space, 0, "the device is too small"};
    }
    return Status::success();
}

Status SimDisk::try_lock() {
    if (!process_.alive() || !drive_.try_lock(handle_)) return Error{Errc::busy, 0, "lock"};
    return Status::success();
}

}  // namespace gemel::sim
