// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sweep/sweep_damage.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/health_record.h"

namespace gemel::sim {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::kSuperblockSize;
using blockdev::Layout;

namespace {

constexpr uint64_t kUnusedStep = 97;  // Sectors, where nothing is in use.
constexpr size_t kBehindLog = 4;      // Blocks, where the next batches would be.

// Blocks that may have one another's place.
struct Part {
    const char* name;
    std::vector<uint64_t> offsets;
    uint64_t unit = kBlockSize;
    bool large = false;
    bool swaps = true;
};

bool is_blank(SweepState& state, size_t member, uint64_t offset) {
    std::array<std::byte, kPageSize> bytes;
    state.platter(member).read(offset, bytes);
    return all_zero(bytes);
}

Part range(const char* name, uint64_t begin, uint64_t end, uint64_t unit = kBlockSize) {
    Part part{name, {}, unit};
    for (uint64_t at = begin; at < end; at += unit) part.offsets.push_back(at);
    return part;
}

std::vector<Part> parts_of(SweepState& state, size_t member) {
    const Layout& layout = state.layout();
    Part log{"log", state.log_blocks(member)};
    log.large = true;
    Part home{"home", {}};
    home.large = true;
    for (uint64_t block = 0; block < layout.volume_blocks(); ++block) {
        const uint64_t offset = layout.home(block);
        if (!is_blank(state, member, offset)) home.offsets.push_back(offset);
    }
    const uint64_t b = layout.superblock_b_offset;
    const uint64_t health_1 = blockdev::kHealthOffset + blockdev::kHealthSlotSize;
    const uint64_t checksums_end = layout.checksum_page_offset(layout.volume_pages(), 0);
    return {range("superblock A", 0, kSuperblockSize),
            range("superblock B", b, b + kSuperblockSize),
            range("owner", blockdev::kOwnerOffset, blockdev::kOwnerOffset + kBlockSize),
            range("health, slot 0", blockdev::kHealthOffset, health_1),
            range("health, slot 1", health_1, health_1 + blockdev::kHealthSlotSize),
            std::move(log),
            range("index, level 2", layout.root_offset, layout.index_offset),
            range("index, level 1", layout.index_offset, layout.checksum_offset),
            range("checksums", layout.checksum_offset, checksums_end),
            std::move(home)};
}

// The same without what is only one block of something larger.
std::vector<Part> larger_parts_of(const Layout& layout) {
    const uint64_t b = layout.superblock_b_offset;
    Part superblocks = range("superblock", 0, kSuperblockSize, kSuperblockSize);
    superblocks.offsets.push_back(b);
    superblocks.swaps = false;  // That would leave none.
    Part health =
        range("health", blockdev::kHealthOffset,
              blockdev::kHealthOffset + 2 * blockdev::kHealthSlotSize, blockdev::kHealthSlotSize);
    health.swaps = false;
    return {std::move(superblocks), std::move(health)};
}

// What no structure is in: here and there a sector.
std::vector<uint64_t> unused_sectors(SweepState& state, size_t member) {
    const Layout& layout = state.layout();
    std::vector<uint64_t> sectors;
    const auto add = [&sectors](uint64_t begin, uint64_t end) {
        for (uint64_t at = begin; at < end; at += kUnusedStep * kSectorSize) sectors.push_back(at);
    };
    const std::vector<uint64_t>& log = state.log_blocks(member);
    const uint64_t log_end = log.empty() ? blockdev::kLogOffset : log.back() + kBlockSize;
    add(blockdev::kOwnerOffset + kBlockSize, blockdev::kHealthOffset);
    add(blockdev::kHealthOffset + 2 * blockdev::kHealthSlotSize, blockdev::kLogOffset);
    for (uint64_t at = log_end; at < log_end + kBehindLog * kBlockSize; at += kSectorSize) {
        if (at < layout.root_offset) sectors.push_back(at);
    }
    add(layout.checksum_page_offset(layout.volume_pages(), 0), layout.superblock_b_offset);
    add(layout.superblock_b_offset + kSuperblockSize, layout.home_offset);
    for (uint64_t block = 0; block < layout.volume_blocks(); ++block) {
        if (!is_blank(state, member, layout.home(block))) continue;
        sectors.push_back(layout.home(block) + block % kSectorsPerPage * kSectorSize);
    }
    return sectors;
}

class Picker {
public:
    explicit Picker(SweepShare share) : share_(share), next_(share.first) {}
    bool take(bool large) {
        const uint64_t step = large ? share_.step_of_log_and_home : share_.step;
        return next_++ % step == 0;
    }

private:
    SweepShare share_;
    uint64_t next_;
};

const char* name(SweepKind kind) {
    static constexpr const char* kNames[] = {"flip", "zero",  "garbage",    "torn",
                                             "swap", "stale", "stale chain"};
    return kNames[static_cast<size_t>(kind)];
}

void add_older(SweepState& state, const Part& part, SweepDamage damage, Picker& picker,
               std::vector<SweepDamage>& out) {
    std::vector<std::byte> now(part.unit);
    std::vector<std::byte> then(part.unit);
    state.platter(damage.member).read(damage.offset, now);
    for (size_t moment = 0; moment < state.moments(); ++moment) {
        state.read_past(moment, damage.member, damage.offset, then);
        damage.other = moment;
        if (now != then) {
            for (const SweepKind kind : {SweepKind::torn, SweepKind::stale}) {
                damage.kind = kind;
                if (picker.take(part.large)) out.push_back(damage);
            }
        }
        if (std::strcmp(part.name, "home") != 0) continue;
        damage.kind = SweepKind::stale_chain;
        for (damage.layers = 1; damage.layers <= 3; ++damage.layers) {
            if (picker.take(part.large)) out.push_back(damage);
        }
    }
}

// A block with both slots of its checksum page, of level 1 of the index, and of level 2.
std::vector<uint64_t> chain_of(const Layout& layout, uint64_t offset, unsigned layers) {
    const uint64_t page = (offset - layout.home_offset) / kBlockSize / kPageBlocks;
    const uint64_t level1 = page / blockdev::kIndexEntries;
    std::vector<uint64_t> offsets{offset};
    for (unsigned slot = 0; slot < blockdev::kSlots; ++slot) {
        offsets.push_back(layout.checksum_page_offset(page, slot));
        if (layers > 1) offsets.push_back(layout.index_page_offset(level1, slot));
        if (layers > 2) {
            offsets.push_back(layout.root_page_offset(level1 / blockdev::kIndexEntries, slot));
        }
    }
    return offsets;
}

bool overwrite(SweepState& state, size_t member, uint64_t offset,
               std::span<const std::byte> bytes) {
    std::vector<std::byte> before(bytes.size());
    state.platter(member).read(offset, before);
    if (std::memcmp(before.data(), bytes.data(), bytes.size()) == 0) return false;
    state.platter(member).tamper(offset, bytes);
    return true;
}

bool put_back(SweepState& state, const SweepDamage& damage, uint64_t offset, uint64_t keep) {
    std::vector<std::byte> bytes(damage.length);
    state.read_past(damage.other, damage.member, offset, bytes);
    state.platter(damage.member).read(offset, {bytes.data(), keep});
    return overwrite(state, damage.member, offset, bytes);
}

bool swap(SweepState& state, const SweepDamage& damage) {
    std::vector<std::byte> here(damage.length);
    std::vector<std::byte> there(damage.length);
    state.platter(damage.member).read(damage.offset, here);
    state.platter(damage.member).read(damage.other, there);
    return overwrite(state, damage.member, damage.offset, there) &&
           overwrite(state, damage.member, damage.other, here);
}

bool damage_sector(SweepState& state, const SweepDamage& damage, Random& random) {
    std::vector<std::byte> bytes(damage.length);
    state.platter(damage.member).read(damage.offset, bytes);
    if (damage.kind == SweepKind::flip) {
        bytes[random.below(bytes.size())] ^= static_cast<std::byte>(1u << random.below(8));
    } else {
        for (std::byte& byte : bytes) {
            byte = damage.kind == SweepKind::zero ? std::byte{0}
                                                  : static_cast<std::byte>(random.below(256));
        }
    }
    return overwrite(state, damage.member, damage.offset, bytes);
}

}  // namespace

std::string SweepDamage::text() const {
    std::string text = std::string(name(kind)) + " in " + place + " of member " +
                       std::to_string(member) + " at " + std::to_string(offset);
    if (length != kSectorSize) text += "+" + std::to_string(length);
    if (layers != 0) text += ", layers " + std::to_string(layers);
    if (kind >= SweepKind::torn) text += ", other " + std::to_string(other);
    return text;
}

std::vector<SweepDamage> sector_damages(SweepState& state, SweepShare share) {
    std::vector<SweepDamage> all;
    Picker picker(share);
    for (const SweepKind kind : {SweepKind::flip, SweepKind::zero, SweepKind::garbage}) {
        SweepDamage damage{.kind = kind, .member = static_cast<size_t>(kind) % state.members()};
        for (const Part& part : parts_of(state, damage.member)) {
            damage.place = part.name;
            for (const uint64_t offset : part.offsets) {
                for (uint64_t at = 0; at < part.unit; at += kSectorSize) {
                    damage.offset = offset + at;
                    if (picker.take(part.large)) all.push_back(damage);
                }
            }
        }
        damage.place = "unused";
        for (const uint64_t offset : unused_sectors(state, damage.member)) {
            damage.offset = offset;
            if (picker.take(false)) all.push_back(damage);
        }
    }
    return all;
}

std::vector<SweepDamage> block_damages(SweepState& state, SweepShare share) {
    std::vector<SweepDamage> all;
    Picker picker(share);
    size_t member = 0;
    std::vector<Part> parts = parts_of(state, 0);
    for (Part& part : larger_parts_of(state.layout())) parts.push_back(std::move(part));
    for (const Part& part : parts) {
        for (size_t i = 0; i < part.offsets.size(); ++i) {
            SweepDamage damage{.place = part.name, .member = member++ % state.members()};
            damage.offset = part.offsets[i];
            damage.length = part.unit;
            if (part.swaps && i + 1 < part.offsets.size() && picker.take(part.large)) {
                damage.kind = SweepKind::swapped;
                damage.other = part.offsets[i + 1];
                all.push_back(damage);
            }
            add_older(state, part, damage, picker, all);
        }
    }
    return all;
}

std::vector<SweepDamage> range_damages(SweepState& state) {
    const Layout& layout = state.layout();
    const uint64_t b = layout.superblock_b_offset;
    const uint64_t log = blockdev::kLogOffset;
    struct Range {
        const char* name;
        uint64_t begin;
        uint64_t end;
    };
    const Range ranges[] = {
        {"superblock A and the owner", 0, blockdev::kOwnerOffset + kBlockSize},
        {"all before the log", 0, log},
        {"all before the index", 0, layout.root_offset},
        {"all before superblock B", 0, b},
        {"both health records", blockdev::kHealthOffset, log},
        {"the log", log, layout.root_offset},
        {"the index", layout.root_offset, layout.checksum_offset},
        {"the checksums", layout.checksum_offset, b},
        {"all tables", layout.root_offset, b},
        {"superblock B", b, b + kSuperblockSize},
        {"home", layout.home_offset, layout.member_size()},
        {"all from superblock B on", b, layout.member_size()},
        {"all behind superblock A", kSuperblockSize, layout.member_size()},
    };
    std::vector<SweepDamage> all;
    for (const SweepKind kind : {SweepKind::zero, SweepKind::garbage}) {
        for (const Range& range : ranges) {
            SweepDamage damage{.place = range.name, .kind = kind};
            damage.member = all.size() % state.members();
            damage.offset = range.begin;
            damage.length = range.end - range.begin;
            all.push_back(damage);
        }
    }
    return all;
}

bool do_damage(SweepState& state, const SweepDamage& damage, Random& random) {
    switch (damage.kind) {
        case SweepKind::flip:
        case SweepKind::zero:
        case SweepKind::garbage: return damage_sector(state, damage, random);
        case SweepKind::torn: {
            const uint64_t kept = random.between(1, damage.length / kSectorSize - 1);
            return put_back(state, damage, damage.offset, kept * kSectorSize);
        }
        case SweepKind::swapped: return swap(state, damage);
        case SweepKind::stale: return put_back(state, damage, damage.offset, 0);
        case SweepKind::stale_chain: {
            bool any = false;
            for (const uint64_t offset : chain_of(state.layout(), damage.offset, damage.layers)) {
                any = put_back(state, damage, offset, 0) || any;
            }
            return any;
        }
    }
    return false;
}

}  // namespace gemel::sim
