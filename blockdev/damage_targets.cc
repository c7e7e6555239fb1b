// SPDX-License-Identifier: Apache-2.0
#include "blockdev/damage_targets.h"

#include <algorithm>

#include "blockdev/assert.h"
#include "blockdev/checksum_table.h"
#include "blockdev/log_reader.h"

namespace gemel::blockdev {

Place TargetRun::at(uint64_t index) const {
    CHECK(index < count);
    Place place = first;
    place.offset += index * kBlockSize;
    if (place.structure == Structure::data) place.number += index;
    return place;
}

void TargetList::add(const Place& first, uint64_t count) {
    CHECK(count != 0);
    left_ += count;
    if (!runs_.empty() && first.structure == Structure::data) {
        TargetRun& last = runs_.back();
        if (last.first.number + last.count == first.number) {
            last.count += count;
            ends_.back() = left_;
            return;
        }
    }
    runs_.push_back({first, count});
    ends_.push_back(left_);
}

// A shuffle that is only carried out as far as places are drawn: the one drawn is replaced by the
// last of those left.
Place TargetList::draw(Random& random) {
    CHECK(left_ != 0);
    const uint64_t drawn = random.below(left_--);
    const auto meaning = [this](uint64_t index) {
        const auto found = moved_.find(index);
        return found == moved_.end() ? index : found->second;
    };
    const uint64_t index = meaning(drawn);
    moved_[drawn] = meaning(left_);
    const auto run = std::upper_bound(ends_.begin(), ends_.end(), index) - ends_.begin();
    const uint64_t start = run == 0 ? 0 : ends_[static_cast<size_t>(run) - 1];
    return runs_[static_cast<size_t>(run)].at(index - start);
}

namespace {

class Lister {
public:
    Lister(Disk& disk, const SuperblockReading& reading, TargetOptions options)
        : disk_(disk),
          reading_(reading),
          superblock_(*reading.superblock),
          options_(options),
          layout_(layout_of(superblock_)) {}

    Task<Targets> run() {
        co_await list_superblocks();
        if (wants(Structure::log)) co_await list_log();
        if (wants(Structure::data) || wants(Structure::checksum) || wants(Structure::index)) {
            for (uint64_t i = 0; i < layout_.root_pages(); ++i) co_await list_upper_index(i);
        }
        co_return std::move(targets_);
    }

private:
    bool wants(Structure structure) const {
        return !options_.into.has_value() || *options_.into == structure;
    }
    bool in_range(uint64_t low, uint64_t high) const {
        return !options_.range.has_value() || options_.range->meets(low, high);
    }
    TargetList& list(Structure structure) { return targets_[static_cast<size_t>(structure)]; }

    Task<void> list_superblocks();
    Task<void> list_log();
    void add_batch(uint64_t ring_offset, const Batch& batch);
    Task<void> list_upper_index(uint64_t number);
    Task<void> list_lower_index(uint64_t number, IndexEntry entry);
    Task<void> list_checksum_page(uint64_t page, IndexEntry entry);
    void add_data(uint64_t page, const ChecksumPage& values);
    // Reads the page at `offset`; false if it is not the one that `entry` names.
    Task<bool> read_index(uint64_t offset, IndexEntry entry, std::span<std::byte> out);

    Disk& disk_;
    const SuperblockReading& reading_;
    const Superblock& superblock_;
    const TargetOptions options_;
    const Layout layout_;
    Targets targets_;
};

// The blocks of a copy that hold anything; what is all zero there is unused, or reserved.
Task<void> Lister::list_superblocks() {
    if (!wants(Structure::superblock)) co_return;
    const AlignedBytes copy = allocate_aligned(kSuperblockSize);
    for (const uint64_t which : {0, 1}) {
        if ((which == 0 ? reading_.fault_a : reading_.fault_b) != nullptr) continue;
        const uint64_t start = which == 0 ? 0 : layout_.superblock_b_offset;
        const Status status = co_await disk_.read(start, {copy.get(), kSuperblockSize});
        if (!status.ok()) continue;
        for (uint64_t at = 0; at < kSuperblockSize; at += kBlockSize) {
            if (all_zero({copy.get() + at, kBlockSize})) continue;
            Place place{.structure = Structure::superblock};
            place.offset = start + at;
            place.number = which;
            list(Structure::superblock).add(place);
        }
    }
}

Task<void> Lister::list_log() {
    BufferPool pool(0);
    const ecc::BlockHasher hasher(superblock_.secret);
    LogReader reader(disk_, layout_, superblock_.volume, hasher, pool);
    ChainLink link;
    link.epoch_id = superblock_.configuration.epoch.id;
    link.sequence = superblock_.tail.sequence;
    link.previous_hash = superblock_.tail.previous_hash;
    uint64_t head = superblock_.tail.ring_offset;
    while (true) {
        const Result<LogReader::Found> found = co_await reader.next(head, link);
        if (!found.ok() || !found.value().batch) co_return;
        const Batch& batch = *found.value().batch;
        add_batch(found.value().offset, batch);
        head = found.value().offset + batch.size();
        link.sequence = batch.last_sequence() + 1;
        link.previous_hash = batch.hash();
    }
}

void Lister::add_batch(uint64_t ring_offset, const Batch& batch) {
    if (!in_range(batch.first_sequence(), batch.last_sequence())) return;
    Place place{.structure = Structure::log};
    place.is_batch_header = true;
    place.offset = kLogOffset + ring_offset;
    place.number = batch.first_sequence();
    list(Structure::log).add(place);
    place.is_batch_header = false;
    place.offset += kBlockSize;
    const uint32_t payload_blocks = batch.header().payload_blocks;
    if (payload_blocks != 0) list(Structure::log).add(place, payload_blocks);
}

Task<bool> Lister::read_index(uint64_t offset, IndexEntry entry, std::span<std::byte> out) {
    const Status status = co_await disk_.read(offset, out);
    if (!status.ok()) co_return false;
    const auto& page = *reinterpret_cast<const IndexPage*>(out.data());
    const uint64_t computed =
        ecc::hash64(out.subspan(sizeof(le64)), place_seed(superblock_.member, offset));
    co_return page.checksum == computed&& computed == entry.checksum&& page.magic == kIndexMagic;
}

Task<void> Lister::list_upper_index(uint64_t number) {
    const IndexEntry root = superblock_.roots[number];
    const PageName name = PageName::decode(root);
    if (name.state != PageState::data) co_return;
    Place place{.structure = Structure::index, .level = 2};
    place.slot = static_cast<uint8_t>(name.slot);
    place.offset = layout_.root_page_offset(number, name.slot);
    place.number = number;
    const AlignedBytes bytes = allocate_aligned(sizeof(IndexPage));
    const bool good = co_await read_index(place.offset, root, {bytes.get(), sizeof(IndexPage)});
    if (!good) co_return;
    if (wants(Structure::index) && !options_.range) list(Structure::index).add(place);
    const auto& page = *reinterpret_cast<const IndexPage*>(bytes.get());
    for (uint64_t i = 0; i < kIndexEntries; ++i) {
        const uint64_t below = number * kIndexEntries + i;
        if (below < layout_.index_pages()) co_await list_lower_index(below, page.entries[i]);
    }
}

Task<void> Lister::list_lower_index(uint64_t number, IndexEntry entry) {
    const PageName name = PageName::decode(entry);
    if (name.state != PageState::data) co_return;
    Place place{.structure = Structure::index, .level = 1};
    place.slot = static_cast<uint8_t>(name.slot);
    place.offset = layout_.index_page_offset(number, name.slot);
    place.number = number;
    const AlignedBytes bytes = allocate_aligned(sizeof(IndexPage));
    const bool good = co_await read_index(place.offset, entry, {bytes.get(), sizeof(IndexPage)});
    if (!good) co_return;
    if (wants(Structure::index) && in_range(number, number)) list(Structure::index).add(place);
    if (!wants(Structure::data) && !wants(Structure::checksum)) co_return;
    const auto& page = *reinterpret_cast<const IndexPage*>(bytes.get());
    for (uint64_t i = 0; i < kIndexEntries; ++i) {
        const uint64_t below = number * kIndexEntries + i;
        if (below < layout_.volume_pages()) co_await list_checksum_page(below, page.entries[i]);
    }
}

Task<void> Lister::list_checksum_page(uint64_t page, IndexEntry entry) {
    const PageName name = PageName::decode(entry);
    if (name.state != PageState::data) co_return;
    const uint64_t first = page * kPageBlocks;
    const bool data = wants(Structure::data) && in_range(first, first + kPageBlocks - 1);
    const bool checksum = wants(Structure::checksum) && in_range(page, page);
    if (!data && !checksum) co_return;
    Place place{.structure = Structure::checksum};
    place.slot = static_cast<uint8_t>(name.slot);
    place.offset = layout_.checksum_page_offset(page, name.slot);
    place.number = page;
    const AlignedBytes bytes = allocate_aligned(sizeof(ChecksumPage));
    const std::span<std::byte> out(bytes.get(), sizeof(ChecksumPage));
    const Status status = co_await disk_.read(place.offset, out);
    const uint64_t seed = place_seed(superblock_.member, place.offset);
    if (!status.ok() || ecc::hash64(out, seed) != name.checksum) co_return;
    if (checksum) list(Structure::checksum).add(place);
    if (data) add_data(page, *reinterpret_cast<const ChecksumPage*>(bytes.get()));
}

void Lister::add_data(uint64_t page, const ChecksumPage& values) {
    for (uint64_t i = 0; i < kPageBlocks; ++i) {
        const uint64_t block = page * kPageBlocks + i;
        if (block >= layout_.volume_blocks()) return;
        if (values.values[i] == 0 || !in_range(block, block)) continue;
        Place place{.structure = Structure::data};
        place.offset = layout_.home(block);
        place.number = block;
        list(Structure::data).add(place);
    }
}

}  // namespace

Task<Targets> list_targets(Disk& disk, const SuperblockReading& reading, TargetOptions options) {
    // A range counts in the numbers of one structure.
    CHECK(!options.range || options.into);
    Lister lister(disk, reading, options);
    co_return co_await lister.run();
}

}  // namespace gemel::blockdev
