// SPDX-License-Identifier: Apache-2.0
#include "blockdev/table_repair.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace gemel::blockdev {

namespace {

// A name that no page answers to: what it stands for is looked for one level below.
PageName unknown_name(uint64_t sequence) {
    return {.sequence = sequence, .state = PageState::data, .slot = 0, .checksum = 0};
}

}  // namespace

TableRepair::TableRepair(Disk& disk, const Layout& layout, ChecksumTable& table,
                         TableSource& source)
    : disk_(disk), layout_(layout), table_(table), source_(source) {}

Task<Status> TableRepair::run(uint64_t page, bool rebuild) {
    const uint64_t level1 = page / kIndexEntries;
    // From the top down; each step makes the next one possible.
    while (true) {
        const TableFault fault = co_await table_.probe(page);
        Status status;
        switch (fault) {
            case TableFault::none:
                if (!rebuild) co_return Status::success();
                co_return co_await take_current(page);
            case TableFault::level2:
                status = co_await rebuild_level2(level1 / kIndexEntries);
                break;
            case TableFault::level1: status = co_await rebuild_level1(level1); break;
            case TableFault::page: status = co_await rebuild_page(page); break;
        }
        if (!status.ok()) co_return status;
        ++repaired_;
        if (fault == TableFault::page) co_return status;
    }
}

// From the names of what lies below it: those that the last checkpoint left, unless something there
// is damaged as well. A repair may have left two with one sequence number; then one of them is
// tried the other way.
Task<Status> TableRepair::rebuild_level2(uint64_t number) {
    const uint64_t first = number * kIndexEntries;
    const uint64_t end = std::min(first + kIndexEntries, layout_.index_pages());
    const uint64_t newest = table_.root_name(number).sequence;
    std::vector<Slots> slots;
    IndexPage index{};
    for (uint64_t level1 = first; level1 < end; ++level1) {
        slots.push_back(co_await find_level1(level1, newest));
        index.entries[level1 - first] = slots.back().names[0];
    }
    Result<bool> restored = co_await table_.restore_index(2, number, index);
    for (size_t i = 0; restored.ok() && !restored.value() && i < slots.size(); ++i) {
        if (slots[i].names[1].word == 0) continue;
        index.entries[i] = slots[i].names[1];
        restored = co_await table_.restore_index(2, number, index);
        index.entries[i] = slots[i].names[0];
    }
    if (!restored.ok()) co_return restored.error();
    if (restored.value()) co_return Status::success();
    for (uint64_t level1 = first; level1 < end; ++level1) {
        index.entries[level1 - first] = unknown_name(0).encode();
    }
    table_.replace_index(2, number, index);
    co_return Status::success();
}

// Slots that hold a whole index page. One that is newer than what the superblock names belongs to a
// checkpoint that did not come to its end.
Task<TableRepair::Slots> TableRepair::find_level1(uint64_t number, uint64_t newest) {
    AlignedBytes buffer = allocate_aligned(sizeof(IndexPage));
    Slots found;
    uint64_t best = 0;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
        const uint64_t offset = layout_.index_page_offset(number, slot);
        const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(IndexPage)});
        if (!status.ok()) continue;
        const auto& page = *reinterpret_cast<const IndexPage*>(buffer.get());
        const uint64_t sequence = newest_sequence(page);
        if (!table_.is_whole(page, 1, number, offset) || sequence > newest) continue;
        const PageName name{.sequence = sequence,
                            .state = PageState::data,
                            .slot = slot,
                            .checksum = page.checksum};
        found.names[1] = found.names[0];
        found.names[0] = name.encode();
        if (sequence < best) std::swap(found.names[0], found.names[1]);
        best = std::max(best, sequence);
    }
    co_return found;
}

Task<Status> TableRepair::rebuild_level1(uint64_t number) {
    IndexPage index{};
    const Status named = co_await name_pages(number, PageVersion::home, index);
    if (!named.ok()) co_return named;
    const Result<bool> restored = co_await table_.restore_index(1, number, index);
    if (!restored.ok()) co_return restored.error();
    if (restored.value()) co_return Status::success();
    // What is home elsewhere may be older than what is home here: only the newest will do.
    const Status renamed = co_await name_pages(number, PageVersion::current, index);
    if (!renamed.ok()) co_return renamed;
    table_.replace_index(1, number, index);
    co_return Status::success();
}

Task<Status> TableRepair::name_pages(uint64_t number, PageVersion version, IndexPage& index) {
    const uint64_t first = number * kIndexEntries;
    const uint64_t end = std::min(first + kIndexEntries, layout_.volume_pages());
    for (uint64_t page = first; page < end; ++page) {
        PageValues wanted;
        const Status known = co_await source_.page_values(page, version, wanted);
        PageName name = unknown_name(0);
        if (known.ok()) name = co_await find_page(page, wanted);
        index.entries[page - first] = name.encode();
    }
    co_return Status::success();
}

// The slot that holds what the others have.
Task<PageName> TableRepair::find_page(uint64_t page, const PageValues& wanted) {
    PageName name{.sequence = wanted.sequence, .state = wanted.state, .slot = 0, .checksum = 0};
    if (wanted.state != PageState::data) co_return name;
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    for (unsigned slot = 0; slot < kSlots; ++slot) {
        const uint64_t offset = layout_.checksum_page_offset(page, slot);
        const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(ChecksumPage)});
        if (!status.ok()) continue;
        if (std::memcmp(buffer.get(), &wanted.values, sizeof(ChecksumPage)) != 0) continue;
        name.slot = slot;
        name.checksum = table_.page_checksum(page, slot, wanted.values);
        co_return name;
    }
    co_return unknown_name(wanted.sequence);
}

Task<Status> TableRepair::rebuild_page(uint64_t page) {
    // What does not stay in its place goes to the other one.
    const Result<bool> restored = co_await restore_from_candidates(page);
    if (restored.ok() && restored.value()) co_return Status::success();
    co_return co_await take_current(page);
}

Task<Result<bool>> TableRepair::restore_from_candidates(uint64_t page) {
    ChecksumPage candidate{};
    for (size_t number = 0;; ++number) {
        const Result<bool> there = co_await source_.candidate(page, number, candidate);
        if (!there.ok() || !there.value()) co_return there;
        const Result<bool> restored = co_await table_.restore_page(page, candidate);
        if (!restored.ok() || restored.value()) co_return restored;
    }
}

Task<Status> TableRepair::take_current(uint64_t page) {
    PageValues wanted;
    const Status current = co_await source_.page_values(page, PageVersion::agreed, wanted);
    if (!current.ok()) co_return current;
    if (wanted.state == PageState::data) {
        co_return co_await table_.write_page(page, wanted.values, wanted.sequence);
    }
    co_return co_await table_.mark_zero(page, wanted.sequence);
}

}  // namespace gemel::blockdev
