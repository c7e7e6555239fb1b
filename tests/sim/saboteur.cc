// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/saboteur.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "blockdev/bytes.h"
#include "blockdev/damage_kinds.h"
#include "blockdev/superblock.h"
#include "tests/sim/crash_plan.h"

namespace gemel::sim {

using blockdev::DamageKind;

namespace {

constexpr size_t kWrittenMax = 64;
constexpr size_t kMemoryMax = 2;
constexpr int kTriesMax = 20;
constexpr uint64_t kStrikesMax = 100;  // Online, in one life: a volume may be idle for long.

using PageBytes = std::array<std::byte, kPageSize>;

DamageKind damage_kind(FaultClass kind) {
    switch (kind) {
        case FaultClass::bit_rot: return DamageKind::flip;
        case FaultClass::zeroed: return DamageKind::zero;
        case FaultClass::torn: return DamageKind::torn;
        case FaultClass::swapped: return DamageKind::swap;
        case FaultClass::stale:
        case FaultClass::stale_chain: return DamageKind::stale;
        default: return DamageKind::garbage;
    }
}

bool is_readable(const Drive& drive, uint64_t offset, uint64_t length) {
    const auto bad = drive.faults.unreadable_pages.lower_bound(offset / kPageSize);
    return bad == drive.faults.unreadable_pages.end() || *bad >= (offset + length) / kPageSize;
}

// A copy that proves itself, or null.
std::unique_ptr<blockdev::Superblock> whole_superblock(Drive& drive, uint64_t offset) {
    if (!is_readable(drive, offset, blockdev::kSuperblockSize)) return nullptr;
    auto copy = blockdev::make_superblock_buffer();
    drive.platter().read(offset, writable_bytes_of(*copy));
    if (blockdev::superblock_fault(*copy, offset) != nullptr) return nullptr;
    return copy;
}

}  // namespace

Saboteur::Saboteur(SimWorld& world, const FaultMix& mix, std::vector<Drive*> drives,
                   const blockdev::Layout& layout, SeedReport& report)
    : world_(world),
      mix_(mix),
      drives_(std::move(drives)),
      layout_(layout),
      report_(report),
      budget_(drives_.size(), layout),
      random_(world.random().fork()),
      request_random_(world.random().fork()),
      written_(drives_.size()) {
    for (Drive* drive : drives_) drive->fates = this;
}

size_t Saboteur::member_of(const Drive& drive) const {
    return static_cast<size_t>(std::find(drives_.begin(), drives_.end(), &drive) - drives_.begin());
}

void Saboteur::count(FaultClass kind, FaultClass place, size_t member, uint64_t offset) {
    report_.count("faults");
    report_.count(std::string("fault, ") + name(kind) + " " + name(place));
    world_.trace().event(world_.now_ns(), TraceTag::scenario,
                         {static_cast<uint64_t>(kind), member, offset});
    if (!world_.trace().printing()) return;
    world_.trace().line(world_.now_ns(), std::string("FAULT ") + name(kind) + " " + name(place) +
                                             " of " + drives_[member]->options().path + " at " +
                                             std::to_string(offset));
}

// --- When

void Saboteur::strike_offline() {
    if (mix_.offline_strikes_max == 0) return;
    const uint64_t strikes = random_.skewed(0, mix_.offline_strikes_max);
    for (uint64_t i = 0; i < strikes; ++i) {
        if (!mix_.has(FaultClass::offline)) continue;
        report_.count("strikes offline");
        strike();
    }
}

void Saboteur::begin_online() {
    online_ = mix_.online_interval_ns_max != 0;
    strikes_left_ = kStrikesMax;
    if (!online_ || scheduled_) return;
    scheduled_ = true;
    world_.schedule_at(world_.now_ns() + random_.skewed(1, mix_.online_interval_ns_max), *this);
}

void Saboteur::happen() {
    online_ = online_ && strikes_left_ > 0;
    scheduled_ = online_;
    if (!online_) return;
    --strikes_left_;
    if (random_.chance(kCertain / 16)) remember();
    if (mix_.has(FaultClass::online)) {
        report_.count("strikes online");
        strike();
    }
    world_.schedule_at(world_.now_ns() + random_.skewed(1, mix_.online_interval_ns_max), *this);
}

void Saboteur::remember() {
    std::vector<Platter::Image> moment;
    for (Drive* drive : drives_) moment.push_back(drive->platter().image());
    if (memory_.size() < kMemoryMax) {
        memory_.push_back(std::move(moment));
    } else {
        memory_[random_.below(kMemoryMax)] = std::move(moment);
    }
}

// --- Damage

// Draws with a generator of its own, so that a class that is not allowed shifts nothing.
void Saboteur::strike() {
    Random random = random_.fork();
    const auto kind = mix_.draw(random, FaultClass::bit_rot, FaultClass::unreadable);
    const auto place = mix_.draw(random, FaultClass::in_data, FaultClass::in_superblock);
    const size_t member = random.below(drives_.size());
    if (!kind || !place) return;
    if (*kind == FaultClass::stale_chain) return put_back_chain(random, member);
    strike_some(random, *kind, *place, member);
}

void Saboteur::strike_some(Random& random, FaultClass kind, FaultClass place, size_t member) {
    const bool one = place == FaultClass::in_index || place == FaultClass::in_superblock;
    uint64_t blocks = one ? 1 : random.skewed(1, mix_.blocks_per_strike_max);
    for (; blocks > 0; --blocks) {
        const std::optional<Target> target = pick(random, place, member);
        if (!target || !spend(*target)) continue;
        if (kind == FaultClass::swapped) {
            swap(random, *target);
        } else {
            damage(random, kind, *target);
        }
    }
}

// A place of that structure which a member once wrote to, preferably lately.
std::optional<uint64_t> Saboteur::recent(Random& random, size_t member, uint64_t begin,
                                         uint64_t end) {
    const std::deque<Extent>& written = written_[member];
    for (int tries = 0; tries < kTriesMax && !written.empty(); ++tries) {
        const Extent& extent = written[random.below(written.size())];
        if (extent.offset < begin || extent.offset >= end) continue;
        return extent.offset + round_down(random.below(extent.length), kPageSize);
    }
    if (begin == end) return std::nullopt;
    return begin + round_down(random.below(end - begin), kPageSize);
}

std::optional<Saboteur::Target> Saboteur::pick(Random& random, FaultClass place, size_t member) {
    Target target{place, member, 0, 0};
    std::optional<uint64_t> offset;
    switch (place) {
        case FaultClass::in_data: return pick_data(random, member);
        case FaultClass::in_superblock: return pick_superblock(random, member);
        case FaultClass::in_log:
            offset = recent(random, member, blockdev::kLogOffset,
                            blockdev::kLogOffset + layout_.log_size);
            break;
        case FaultClass::in_index:
            offset = recent(random, member, layout_.root_offset, layout_.checksum_offset);
            break;
        default:
            offset = recent(random, member, layout_.checksum_offset,
                            layout_.checksum_page_offset(layout_.volume_pages(), 0));
            if (offset) {
                target.number = (*offset - layout_.checksum_offset) / kPageSize / blockdev::kSlots;
            }
            break;
    }
    if (!offset) return std::nullopt;
    target.offset = *offset;
    return target;
}

// One that holds something at home: of zeros the table alone tells.
std::optional<Saboteur::Target> Saboteur::pick_data(Random& random, size_t member) {
    for (int tries = 0; tries < kTriesMax; ++tries) {
        std::optional<uint64_t> offset =
            random.coin() ? recent(random, member, layout_.home_offset, layout_.member_size())
                          : layout_.home(random.below(layout_.volume_blocks()));
        if (!offset || is_zero(member, *offset)) continue;
        return Target{FaultClass::in_data, member, *offset,
                      (*offset - layout_.home_offset) / kPageSize};
    }
    return std::nullopt;
}

std::optional<Saboteur::Target> Saboteur::pick_superblock(Random& random, size_t member) {
    Drive& drive = *drives_[member];
    const auto a = whole_superblock(drive, 0);
    const auto b = whole_superblock(drive, layout_.superblock_b_offset);
    const bool coin = random.coin();
    const uint64_t within = random.below(blockdev::kSuperblockSize / kPageSize) * kPageSize;
    // A write that is on its way may be that of a superblock, and get lost with the power.
    if (!a || !b || drive.in_flight() != 0) return std::nullopt;
    // An older one may be so because it was put back: the newer one is the only one that counts.
    // And a process that lives knows of no damage: its next write replaces the older one.
    const bool either = !online_ && blockdev::are_alike(*a, *b);
    const bool take_b = either ? coin : b->generation < a->generation;
    // Without copy A it is the owner's record that says where B lies.
    blockdev::OwnerRecord owner;
    drive.platter().read(blockdev::kOwnerOffset, writable_bytes_of(owner));
    const uint64_t checksum =
        ecc::hash64(bytes_of(owner).subspan(sizeof(le64)), blockdev::kOwnerOffset);
    if (!take_b && owner.checksum != checksum) return std::nullopt;
    return Target{FaultClass::in_superblock, member,
                  (take_b ? layout_.superblock_b_offset : 0) + within, take_b ? 1u : 0u};
}

bool Saboteur::spend(const Target& target) {
    switch (target.place) {
        case FaultClass::in_data: return budget_.spend_data(target.member, target.number, 1);
        case FaultClass::in_checksums: return budget_.spend_page(target.member, target.number);
        case FaultClass::in_index: return budget_.spend_index(target.member);
        case FaultClass::in_log: return budget_.spend_log(target.member);
        default: return true;  // pick_superblock() has seen the other copy.
    }
}

bool Saboteur::is_zero(size_t member, uint64_t offset) const {
    PageBytes bytes;
    drives_[member]->platter().read(offset, bytes);
    return all_zero(bytes);
}

const std::byte* Saboteur::remembered(Random& random, size_t member, uint64_t offset) const {
    if (memory_.empty()) return nullptr;
    const Platter::Image& image = memory_[random.below(memory_.size())][member];
    const auto found =
        std::lower_bound(image.begin(), image.end(), offset / kPageSize,
                         [](const auto& entry, uint64_t page) { return entry.first < page; });
    static constexpr PageBytes kHole{};
    if (found == image.end() || found->first != offset / kPageSize) return kHole.data();
    return found->second.data();
}

void Saboteur::damage(Random& random, FaultClass kind, const Target& target) {
    Drive& drive = *drives_[target.member];
    if (kind == FaultClass::unreadable) {
        drive.faults.unreadable_pages.insert(target.offset / kPageSize);
        return count(kind, target.place, target.member, target.offset);
    }
    std::span<const std::byte> other;
    if (kind == FaultClass::stale || kind == FaultClass::torn) {
        const std::byte* older = remembered(random, target.member, target.offset);
        if (older != nullptr) other = {older, kPageSize};
        if (older == nullptr && kind == FaultClass::stale) return;
    }
    PageBytes before;
    drive.platter().read(target.offset, before);
    PageBytes after = before;
    blockdev::alter(damage_kind(kind), random, other, after);
    if (after == before) return;
    drive.platter().tamper(target.offset, after);
    count(kind, target.place, target.member, target.offset);
}

void Saboteur::swap(Random& random, const Target& first) {
    if (first.place == FaultClass::in_superblock) return;
    const std::optional<Target> second = pick(random, first.place, first.member);
    if (!second || second->offset == first.offset || !spend(*second)) return;
    Platter& platter = drives_[first.member]->platter();
    PageBytes here;
    PageBytes there;
    platter.read(first.offset, here);
    platter.read(second->offset, there);
    if (here == there) return;
    platter.tamper(first.offset, there);
    platter.tamper(second->offset, here);
    count(FaultClass::swapped, first.place, first.member, first.offset);
}

// A block as it was once, and with it as many of the layers above as by chance: the disk has lost
// all writes of a checkpoint but the last.
void Saboteur::put_back_chain(Random& random, size_t member) {
    const std::optional<Target> target = pick_data(random, member);
    const uint64_t layers = random.between(1, 3);
    if (!target || memory_.empty()) return;
    const uint64_t page = target->number / blockdev::kPageBlocks;
    if (layers > 1 && !budget_.spend_index(member)) return;
    if (!budget_.spend_page(member, page) || !spend(*target)) return;
    const std::vector<Platter::Image>& moment = memory_[random.below(memory_.size())];
    std::vector<uint64_t> offsets{target->offset};
    const uint64_t level1 = page / blockdev::kIndexEntries;
    for (unsigned slot = 0; slot < blockdev::kSlots; ++slot) {
        offsets.push_back(layout_.checksum_page_offset(page, slot));
        if (layers > 1) offsets.push_back(layout_.index_page_offset(level1, slot));
        if (layers > 2) {
            offsets.push_back(layout_.root_page_offset(level1 / blockdev::kIndexEntries, slot));
        }
    }
    for (const uint64_t offset : offsets) {
        const Platter::Image& image = moment[member];
        const auto found = std::lower_bound(
            image.begin(), image.end(), offset / kPageSize,
            [](const auto& entry, uint64_t number) { return entry.first < number; });
        PageBytes bytes{};
        if (found != image.end() && found->first == offset / kPageSize) {
            std::memcpy(bytes.data(), found->second.data(), kPageSize);
        }
        drives_[member]->platter().tamper(offset, bytes);
    }
    count(FaultClass::stale_chain, FaultClass::in_data, member, target->offset);
}

bool Saboteur::strike_everywhere(uint64_t block) {
    const uint64_t offset = layout_.home(block);
    for (size_t i = 0; i < drives_.size(); ++i) {
        if (is_zero(i, offset)) return false;
    }
    for (size_t i = 0; i < drives_.size(); ++i) {
        const Target target{FaultClass::in_data, i, offset, block};
        const bool unreadable = random_.coin();
        damage(random_, unreadable ? FaultClass::unreadable : FaultClass::garbage, target);
    }
    return true;
}

void Saboteur::note_unreadable_logs() {
    const uint64_t end = (blockdev::kLogOffset + layout_.log_size) / kPageSize;
    for (size_t i = 0; i < drives_.size(); ++i) {
        const std::set<uint64_t>& unreadable = drives_[i]->faults.unreadable_pages;
        const auto bad = unreadable.lower_bound(blockdev::kLogOffset / kPageSize);
        if (bad != unreadable.end() && *bad < end) budget_.log_stays_damaged(i);
    }
}

// --- Requests

Fate Saboteur::fate_of(const Drive& drive, IoKind kind, uint64_t offset, uint64_t length) {
    const size_t member = member_of(drive);
    if (kind == IoKind::write) {
        std::deque<Extent>& written = written_[member];
        if (written.size() == kWrittenMax) written.pop_front();
        written.push_back({offset, length});
    }
    if (!spoiling_ || !request_random_.chance(mix_.request_rate)) return Fate::as_asked;
    const bool reads = kind == IoKind::read;
    const FaultClass fault = reads ? FaultClass::read_error : FaultClass::lost_write;
    if (!mix_.has(fault) || !spend_request(member, offset, length)) { return Fate::as_asked; }
    const Region region = region_at(layout_, offset);
    report_.count("faults");
    report_.count(std::string("fault, ") + name(fault) + " of " + sim::name(region));
    if (world_.trace().printing()) {
        world_.trace().line(world_.now_ns(),
                            std::string("FAULT ") + name(fault) + " of " + drive.options().path +
                                " at " + std::to_string(offset) + "+" + std::to_string(length));
    }
    return reads ? Fate::fails : Fate::is_lost;
}

bool Saboteur::spend_request(size_t member, uint64_t offset, uint64_t length) {
    switch (region_at(layout_, offset)) {
        case Region::log: return budget_.spend_log(member);
        case Region::index: return budget_.spend_index(member);
        case Region::checksums: {
            const uint64_t slot = (offset - layout_.checksum_offset) / kPageSize;
            return length == kPageSize && budget_.spend_page(member, slot / blockdev::kSlots);
        }
        case Region::home:
            return budget_.spend_data(member, (offset - layout_.home_offset) / kPageSize,
                                      length / kPageSize);
        default: return false;  // Without its superblocks a member cannot be opened.
    }
}

}  // namespace gemel::sim
