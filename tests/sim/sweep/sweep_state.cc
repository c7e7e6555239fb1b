// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sweep/sweep_state.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/damage_targets.h"

namespace gemel::sim {

using blockdev::kBlockSize;
using blockdev::Structure;
using mirror::VolumeWorld;

namespace {

// Writes fall on these blocks only, at the beginning of the volume, across the border between the
// checksum pages (or in the middle), and at the end: a sweep over every sector that holds anything
// is then short.
struct Hot {
    uint64_t first_block;
    uint64_t blocks;
};

std::array<Hot, 3> hot_blocks(uint64_t size) {
    const uint64_t blocks = size / kBlockSize;
    const uint64_t middle = std::min(blocks / 2, blockdev::kPageBlocks - 12);
    return {Hot{0, 48}, Hot{middle, 24}, Hot{blocks - 8, 8}};
}
constexpr Hot kTrimmed{20, 6};
constexpr Hot kZeroed{30, 3};

constexpr uint64_t kSmallWrite = 24 << 10;
constexpr uint64_t kLargeWrite = 64 << 10;
constexpr uint64_t kLand_ns = 200 * kMillisecond;  // Until nothing of a dead process is in flight.
constexpr uint64_t kSlowFlush_ns = 2 * kSecond;
constexpr uint64_t kLogLeft = 128 << 10;

}  // namespace

SweepState::SweepState(SweepSetting setting)
    : setting_(setting),
      world_({.seed = 3, .members = setting.members, .size = setting.size, .open = false}),
      content_(setting.size),
      stable_log_(setting.members) {
    blockdev::Superblock superblock;
    platter(0).read(0, writable_bytes_of(superblock));
    layout_ = blockdev::layout_of(superblock);
    world_.open();
    make_history();
    end();
    for (size_t i = 0; i < members(); ++i) now_.push_back(platter(i).image());
    files_ = world_.store.world.files();
    for (size_t i = 0; i < members(); ++i) {
        log_blocks_.push_back(find_log_blocks(i));
        std::set<uint64_t>& counting = counting_.emplace_back();
        for (const Structure structure :
             {Structure::superblock, Structure::index, Structure::checksum}) {
            for (const uint64_t block : find_blocks(i, structure)) counting.insert(block);
        }
        for (const uint64_t block : log_blocks_[i]) {
            if (stable_log_[i].contains(block)) counting.insert(block);
        }
    }
}

// Each drain is a checkpoint, so that there are older versions of every structure.
void SweepState::make_history() {
    write_some(30, kSmallWrite);
    CHECK(world_.drain().ok());
    remember();
    write_some(25, kSmallWrite);
    CHECK(world_.trim(kTrimmed.first_block * kBlockSize, kTrimmed.blocks * kBlockSize).ok());
    clear(kTrimmed.first_block, kTrimmed.blocks);
    const uint64_t zeroed = kZeroed.first_block * kBlockSize;
    CHECK(world_.zero(zeroed, kZeroed.blocks * kBlockSize, {.keep_allocated = true}).ok());
    clear(kZeroed.first_block, kZeroed.blocks);
    CHECK(world_.drain().ok());
    for (int slot = 0; slot < 2; ++slot) {  // Of the health record: written after each scrub.
        world_.volume->scrub();
        world_.store.world.run_for(5 * kSecond);
    }
    CHECK(world_.volume->report().scrub.passes == 2);
    remember();
    write_some(20, kSmallWrite);
    CHECK(world_.drain().ok());
}

void SweepState::end() {
    if (setting_.ending == Ending::closed) {
        CHECK(world_.close().ok());
        return;
    }
    if (setting_.ending == Ending::killed_with_a_full_log) {
        fill_log();
        world_.kill();
    } else {
        end_in_checkpoint();
    }
    world_.store.world.run_for(kLand_ns);
}

// Most of it is stable, the rest only acknowledged.
void SweepState::fill_log() {
    const uint64_t limit = layout_.log_size - blockdev::kLogReserve - kLogLeft;
    const auto used = [this] { return world_.volume->report().members[0].log_bytes_used; };
    while (used() < limit / 3) write_one(kLargeWrite);
    CHECK(world_.flush().ok());
    note_stable_log();
    for (size_t i = 0; i < members(); ++i) world_.drive(i).latency.sync_ns = kSlowFlush_ns;
    while (used() < limit) write_one(kLargeWrite);
    for (size_t i = 0; i < members(); ++i) world_.drive(i).latency = DriveLatency{};
}

void SweepState::end_in_checkpoint() {
    write_some(25, kSmallWrite);
    CHECK(world_.flush().ok());
    note_stable_log();
    bool there = false;
    uint64_t left = setting_.cut.nth;
    SimWorld& world = world_.store.world;
    SimEnv* env = world_.store.env;
    const Drive* first = &world_.drive(0);
    world.watch([&](const Moment& moment) {
        if (there || moment.drive != first || moment.io != IoKind::write) return;
        if (moment.kind != setting_.cut.moment) return;
        if (region_at(layout_, moment.offset) != setting_.cut.region || --left != 0) return;
        there = true;
        world.kill(*env);
    });
    const bool reached = world.run_until([&there] { return there; }, world.now_ns() + 9 * kSecond);
    world.watch(nullptr);
    CHECK(reached);
    if (setting_.ending == Ending::power_lost_in_a_checkpoint) {
        world_.lose_power();
    } else {
        world_.kill();
    }
}

void SweepState::remember() {
    std::vector<Platter::Image>& moment = past_.emplace_back();
    for (size_t i = 0; i < members(); ++i) moment.push_back(platter(i).image());
}

void SweepState::read_past(size_t moment, size_t member, uint64_t offset,
                           std::span<std::byte> out) const {
    CHECK(offset % kPageSize == 0 && out.size() % kPageSize == 0);
    const Platter::Image& image = past_[moment][member];
    for (size_t at = 0; at < out.size(); at += kPageSize) {
        const uint64_t page = (offset + at) / kPageSize;
        const auto found = std::lower_bound(
            image.begin(), image.end(), page,
            [](const auto& entry, uint64_t number) { return entry.first < number; });
        if (found == image.end() || found->first != page) {
            std::memset(out.data() + at, 0, kPageSize);
        } else {
            std::memcpy(out.data() + at, found->second.data(), kPageSize);
        }
    }
}

void SweepState::restore() {
    for (size_t i = 0; i < members(); ++i) platter(i).restore(now_[i]);
    world_.store.world.files() = files_;
}

void SweepState::write_some(int writes, uint64_t length_max) {
    for (int i = 0; i < writes; ++i) write_one(length_max);
}

void SweepState::write_one(uint64_t length_max) {
    const auto spots = hot_blocks(size());
    const Hot& hot = spots[random_.below(spots.size())];
    const uint64_t sectors = hot.blocks * kBlockSize / kSectorSize;
    const uint64_t most = std::min(length_max / kSectorSize, sectors);
    const uint64_t length = random_.between(1, most) * kSectorSize;
    const uint64_t offset = hot.first_block * kBlockSize +
                            random_.below(sectors - length / kSectorSize + 1) * kSectorSize;
    const auto value = static_cast<uint8_t>(1 + random_.below(255));
    std::vector<std::byte> data(length);
    for (size_t i = 0; i < length; ++i) data[i] = static_cast<std::byte>(value + i / 64);
    std::copy(data.begin(), data.end(), content_.begin() + static_cast<ptrdiff_t>(offset));
    CHECK(world_.write(offset, data).ok());
}

void SweepState::clear(uint64_t first_block, uint64_t blocks) {
    const auto begin = content_.begin() + static_cast<ptrdiff_t>(first_block * kBlockSize);
    std::fill_n(begin, blocks * kBlockSize, std::byte{0});
}

std::vector<uint64_t> SweepState::find_blocks(size_t member, Structure structure) {
    const auto disk = world_.store.open_disk(VolumeWorld::path(member));
    auto reading = world_.store.run(blockdev::read_superblocks(*disk));
    CHECK(reading.ok());
    blockdev::TargetOptions options;
    options.into = structure;
    const blockdev::Targets targets =
        world_.store.run(blockdev::list_targets(*disk, reading.value(), options));
    std::vector<uint64_t> blocks;
    for (const auto& run : targets[static_cast<size_t>(structure)].runs()) {
        for (uint64_t k = 0; k < run.count; ++k) blocks.push_back(run.at(k).offset);
    }
    return blocks;
}

std::vector<uint64_t> SweepState::find_log_blocks(size_t member) {
    return find_blocks(member, Structure::log);
}

void SweepState::note_stable_log() {
    for (size_t i = 0; i < members(); ++i) {
        const std::vector<uint64_t> blocks = find_log_blocks(i);
        stable_log_[i].insert(blocks.begin(), blocks.end());
    }
}

bool SweepState::counts(size_t member, uint64_t offset) const {
    return counting_[member].contains(round_down(offset, kPageSize));
}

}  // namespace gemel::sim
