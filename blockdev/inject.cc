// SPDX-License-Identifier: Apache-2.0
#include "blockdev/inject.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "blockdev/assert.h"
#include "blockdev/damage_kinds.h"
#include "blockdev/recording.h"

namespace gemel::blockdev {

namespace {

constexpr int kListingTries = 8;
constexpr uint64_t kCompareSize = kMiB;
// What a stale block may take along: its checksum page, level 1 of the index, level 2.
constexpr unsigned kLayersAbove = 3;

// One way to do the next event.
struct Way {
    Structure structure = Structure::data;
    unsigned layers = 0;  // Of data: how many layers above are put back with it.
};

// The blocks of one layer above `block`: both slots of the page.
std::array<Place, kSlots> places_above(const Layout& layout, unsigned layer, uint64_t block) {
    std::array<Place, kSlots> places;
    uint64_t number = block / kPageBlocks;
    for (unsigned i = 1; i < layer; ++i) number /= kIndexEntries;
    for (uint8_t slot = 0; slot < kSlots; ++slot) {
        Place& place = places[slot];
        place.structure = layer == 1 ? Structure::checksum : Structure::index;
        place.level = static_cast<uint8_t>(layer - 1);
        place.slot = slot;
        place.number = number;
        place.offset = layer == 1   ? layout.checksum_page_offset(number, slot)
                       : layer == 2 ? layout.index_page_offset(number, slot)
                                    : layout.root_page_offset(number, slot);
    }
    return places;
}

class Injector {
public:
    Injector(Env& env, Disk& disk, InjectOptions options)
        : env_(env), disk_(disk), options_(std::move(options)), random_(options_.seed) {}

    Task<Outcome<Injection>> run();

private:
    Task<Outcome<void>> find_targets();
    Task<Outcome<SuperblockReading>> list();
    Task<Status> keep_changed(Structure structure);
    Task<Status> keep_changed(const TargetRun& run, TargetList& kept);
    std::vector<Way> ways() const;
    // Each is one event, if it comes off: false if the places drawn for it do not serve.
    Task<Result<bool>> attempt(Way way);
    Task<Result<bool>> damage_one(Structure structure);
    Task<Result<bool>> swap_two(Structure structure);
    Task<Result<bool>> put_back(unsigned layers);

    std::optional<Place> draw(Structure structure);
    Task<bool> read(const Place& place, std::span<std::byte> out);
    Task<Result<bool>> damage(Place place, std::span<const std::byte> other);
    Task<Outcome<void>> finish(Status status);
    Problem nothing_there() const;
    Problem nothing_changed() const;

    TargetList& list_of(Structure structure) { return targets_[static_cast<size_t>(structure)]; }
    uint64_t left(Structure structure) const {
        return targets_[static_cast<size_t>(structure)].left();
    }
    static std::span<std::byte> block(const AlignedBytes& buffer) {
        return {buffer.get(), kBlockSize};
    }

    Env& env_;
    Disk& disk_;
    const InjectOptions options_;
    Random random_;
    std::unique_ptr<Recording> recording_;
    Layout layout_;
    Targets targets_;
    std::array<bool, 2> copy_is_damaged_{};  // Superblocks: each counts as one place.
    Injection done_;
    const AlignedBytes before_ = allocate_aligned(kBlockSize);
    const AlignedBytes after_ = allocate_aligned(kBlockSize);
    const AlignedBytes other_ = allocate_aligned(kBlockSize);
};

// --- Where

// On a member in use the tables may move on while they are read: then they are read again.
Task<Outcome<SuperblockReading>> Injector::list() {
    for (int tried = 1;; ++tried) {
        Outcome<SuperblockReading> reading = co_await read_superblocks(disk_);
        if (!reading.ok()) co_return reading;
        const Superblock& before = *reading.value().superblock;
        const TargetOptions wanted{options_.into, options_.range};
        targets_ = co_await list_targets(disk_, reading.value(), wanted);
        const Outcome<SuperblockReading> again = co_await read_superblocks(disk_);
        if (!again.ok()) co_return again.error();
        const bool stands = again.value().superblock->generation == before.generation;
        if (stands || tried == kListingTries) co_return reading;
    }
}

Task<Outcome<void>> Injector::find_targets() {
    const Outcome<SuperblockReading> reading = co_await list();
    if (!reading.ok()) co_return reading.error();
    const Superblock& superblock = *reading.value().superblock;
    done_.member = superblock.member;
    done_.volume = superblock.volume;
    layout_ = layout_of(superblock);
    const bool empty = std::all_of(targets_.begin(), targets_.end(),
                                   [](const TargetList& list) { return list.left() == 0; });
    if (empty) co_return nothing_there();
    if (!options_.recording) co_return Outcome<void>::success();
    Outcome<std::unique_ptr<Recording>> recording =
        co_await Recording::open(env_, *options_.recording, superblock.member);
    if (!recording.ok()) co_return recording.error();
    recording_ = std::move(recording).value();
    if (options_.kind != DamageKind::stale) co_return Outcome<void>::success();
    for (size_t i = 0; i < kStructures; ++i) {
        const Status status = co_await keep_changed(static_cast<Structure>(i));
        if (!status.ok()) {
            co_return Problem{status.error().code, disk_.traits().path +
                                                       ": cannot be compared with what was "
                                                       "remembered: " +
                                                       status.error().text()};
        }
    }
    co_return Outcome<void>::success();
}

// Leaves only the places that differ from what was recorded.
Task<Status> Injector::keep_changed(Structure structure) {
    TargetList kept;
    for (const TargetRun& run : list_of(structure).runs()) {
        const Status status = co_await keep_changed(run, kept);
        if (!status.ok()) co_return status;
    }
    list_of(structure) = std::move(kept);
    co_return Status::success();
}

Task<Status> Injector::keep_changed(const TargetRun& run, TargetList& kept) {
    const uint64_t length = run.count * kBlockSize;
    const uint64_t step = std::min(length, kCompareSize);
    const AlignedBytes now = allocate_aligned(step);
    const AlignedBytes then = allocate_aligned(step);
    for (uint64_t at = 0; at < length; at += step) {
        const uint64_t part = std::min(step, length - at);
        const uint64_t offset = run.first.offset + at;
        const Status remembered = co_await recording_->read(offset, {then.get(), part});
        if (!remembered.ok()) co_return remembered;
        const Status present = co_await disk_.read(offset, {now.get(), part});
        if (!present.ok()) continue;  // What cannot be read is no place to damage.
        for (uint64_t i = 0; i < part; i += kBlockSize) {
            if (std::memcmp(now.get() + i, then.get() + i, kBlockSize) == 0) continue;
            kept.add(run.at((at + i) / kBlockSize));
        }
    }
    co_return Status::success();
}

std::optional<Place> Injector::draw(Structure structure) {
    while (left(structure) != 0) {
        const Place place = list_of(structure).draw(random_);
        if (structure != Structure::superblock) return place;
        // One block stands for the whole copy.
        if (!std::exchange(copy_is_damaged_[place.number], true)) return place;
    }
    return std::nullopt;
}

// --- What

std::vector<Way> Injector::ways() const {
    std::vector<Way> ways;
    const bool swaps = options_.kind == DamageKind::swap;
    for (size_t i = 0; i < kStructures; ++i) {
        const auto structure = static_cast<Structure>(i);
        if (left(structure) < (swaps ? 2u : 1u)) continue;
        // It would leave no superblock.
        if (swaps && structure == Structure::superblock && options_.count < 2) continue;
        ways.push_back({structure, 0});
    }
    const bool together = options_.kind == DamageKind::stale && !options_.into;
    for (unsigned layers = 1; together && layers <= kLayersAbove; ++layers) {
        if (left(Structure::data) != 0) ways.push_back({Structure::data, layers});
    }
    return ways;
}

Task<Result<bool>> Injector::attempt(Way way) {
    if (options_.kind == DamageKind::swap) co_return co_await swap_two(way.structure);
    if (way.layers != 0) co_return co_await put_back(way.layers);
    co_return co_await damage_one(way.structure);
}

Task<bool> Injector::read(const Place& place, std::span<std::byte> out) {
    const Status status = co_await disk_.read(place.offset, out);
    co_return status.ok();
}

// Damages one place and lists it; false if that would change nothing, or it cannot be read.
Task<Result<bool>> Injector::damage(Place place, std::span<const std::byte> other) {
    const bool readable = co_await read(place, block(before_));
    if (!readable) co_return false;
    std::memcpy(after_.get(), before_.get(), kBlockSize);
    const Alteration part = alter(options_.kind, random_, other, block(after_));
    if (std::memcmp(after_.get(), before_.get(), kBlockSize) == 0) co_return false;
    const Status written = co_await disk_.write(place.offset, block(after_));
    if (!written.ok()) co_return written.error();
    Damage damage;
    damage.kind = options_.kind;
    damage.place = place;
    damage.event = done_.events + 1;
    damage.offset = place.offset + part.offset;
    damage.length = part.length;
    damage.bit = part.bit;
    done_.damages.push_back(damage);
    co_return true;
}

Task<Result<bool>> Injector::damage_one(Structure structure) {
    const std::optional<Place> place = draw(structure);
    if (!place) co_return false;
    std::span<const std::byte> other;
    if (recording_) {
        const Status status = co_await recording_->read(place->offset, block(other_));
        if (!status.ok()) co_return status.error();
        other = block(other_);
    }
    co_return co_await damage(*place, other);
}

// Puts back a block, and with it as many of the layers above as have changed since, bottom up.
Task<Result<bool>> Injector::put_back(unsigned layers) {
    const std::optional<Place> anchor = draw(Structure::data);
    if (!anchor) co_return false;
    std::vector<Place> places{*anchor};
    for (unsigned layer = 0;; ++layer) {
        bool any = false;
        for (const Place& place : places) {
            const Status status = co_await recording_->read(place.offset, block(other_));
            if (!status.ok()) co_return status.error();
            const Result<bool> damaged = co_await damage(place, block(other_));
            if (!damaged.ok()) co_return damaged;
            any = any || damaged.value();
        }
        if (!any) co_return layer > 0;
        if (layer == layers) co_return true;
        const std::array<Place, kSlots> above = places_above(layout_, layer + 1, anchor->number);
        places.assign(above.begin(), above.end());
    }
}

Task<Result<bool>> Injector::swap_two(Structure structure) {
    const std::optional<Place> first = draw(structure);
    if (!first) co_return false;
    const AlignedBytes content = allocate_aligned(kBlockSize);
    const bool readable = co_await read(*first, block(content));
    while (readable) {
        const std::optional<Place> second = draw(structure);
        if (!second) break;
        const bool readable_too = co_await read(*second, block(other_));
        if (!readable_too || std::memcmp(content.get(), other_.get(), kBlockSize) == 0) continue;
        const Result<bool> here = co_await damage(*first, block(other_));
        if (!here.ok() || !here.value()) co_return here;
        done_.damages.back().partner = second;
        const Status there = co_await disk_.write(second->offset, block(content));
        if (!there.ok()) co_return there.error();
        co_return true;
    }
    co_return false;
}

// --- All of it

Problem Injector::nothing_there() const {
    std::string text = disk_.traits().path + ": ";
    if (options_.range) {
        text += std::string("nothing in use in that range of its ") + name(*options_.into);
    } else if (options_.into == Structure::log) {
        text += "the log is empty: nothing to damage there";
    } else {
        text += std::string("it has nothing in use") +
                (options_.into ? std::string(" as ") + name(*options_.into) : "") +
                ": nothing to damage there";
    }
    return {Errc::not_found, text};
}

Problem Injector::nothing_changed() const {
    std::string text = disk_.traits().path + ": ";
    switch (options_.kind) {
        case DamageKind::stale: text += "nothing there differs from what was remembered"; break;
        case DamageKind::swap: text += "there are no two places there that differ"; break;
        default: text += std::string(name(options_.kind)) + " would change nothing there"; break;
    }
    return {Errc::not_found, text};
}

// Makes durable what was done.
Task<Outcome<void>> Injector::finish(Status status) {
    const Status synced = co_await disk_.sync();
    const Status& failed = status.ok() ? synced : status;
    if (failed.ok()) co_return Outcome<void>::success();
    co_return Problem{failed.error().code,
                      disk_.traits().path + ": " + failed.error().text() +
                          "; damage done before: " + std::to_string(done_.events) + " events"};
}

Task<Outcome<Injection>> Injector::run() {
    CHECK(options_.count != 0);
    if (options_.kind == DamageKind::stale && !options_.recording) {
        co_return Problem{Errc::invalid,
                          disk_.traits().path + ": nothing was remembered that could be put back"};
    }
    const Outcome<void> found = co_await find_targets();
    if (!found.ok()) co_return found.error();
    Status status;
    while (status.ok() && done_.events < options_.count) {
        const std::vector<Way> possible = ways();
        if (possible.empty()) break;
        const Way way = possible[random_.below(possible.size())];
        const Result<bool> came_off = co_await attempt(way);
        if (!came_off.ok()) {
            status = came_off.error();
        } else if (came_off.value()) {
            ++done_.events;
        }
    }
    const Outcome<void> finished = co_await finish(status);
    if (!finished.ok()) co_return finished.error();
    if (done_.events == 0) co_return nothing_changed();
    co_return std::move(done_);
}

}  // namespace

Task<Outcome<Injection>> inject_damage(Env& env, Disk& disk, InjectOptions options) {
    Injector injector(env, disk, std::move(options));
    co_return co_await injector.run();
}

Task<Outcome<Injection>> inject_damage(Env& env, std::string path, InjectOptions options) {
    const DiskOptions beside{.beside_owner = true};
    Outcome<std::unique_ptr<Disk>> opened = env.open_disk(path, beside);
    if (!opened.ok()) co_return opened.error();
    co_return co_await inject_damage(env, *opened.value(), std::move(options));
}

}  // namespace gemel::blockdev
