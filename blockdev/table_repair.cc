// SPDX-License-Identifier: Apache-2.0
#include "blockdev/table_repair.h"

#include <algorithm>
#include <cstring>

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

Task<Status> TableRepair::rebuild_level2(uint64_t number) {
    IndexPage index{};
    const uint64_t first = number * kIndexEntries;
    const uint64_t end = std::min(first + kIndexEntries, layout_.index_pages());
    for (uint64_t level1 = first; level1 < end; ++level1) {
        const Result<PageName> name = co_await find_level1(level1);
        if (!name.ok()) co_return name.error();
        index.entries[level1 - first] = name.value().encode();
    }
    co_return co_await table_.restore_index(2, number, index);
}

// Of the slots that hold a whole index page the newer one: at worst it belongs to a checkpoint that
// did not come to its end, and then all it names was complete before it was written.
Task<Result<PageName>> TableRepair::find_level1(uint64_t number) {
    AlignedBytes buffer = allocate_aligned(sizeof(IndexPage));
    PageName best = unknown_name(0);
    bool found = false;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
        const uint64_t offset = layout_.index_page_offset(number, slot);
        const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(IndexPage)});
        if (!status.ok()) continue;
        const auto& page = *reinterpret_cast<const IndexPage*>(buffer.get());
        if (!table_.is_whole(page, 1, number, offset)) continue;
        const PageName name{.sequence = newest_sequence(page),
                            .state = PageState::data,
                            .slot = slot,
                            .checksum = page.checksum};
        if (found && name.sequence <= best.sequence) continue;
        best = name;
        found = true;
    }
    co_return best;
}

Task<Status> TableRepair::rebuild_level1(uint64_t number) {
    IndexPage index{};
    const uint64_t first = number * kIndexEntries;
    const uint64_t end = std::min(first + kIndexEntries, layout_.volume_pages());
    for (uint64_t page = first; page < end; ++page) {
        PageValues wanted;
        const Status known = co_await source_.page_values(page, PageVersion::home, wanted);
        Result<PageName> name = unknown_name(0);
        if (known.ok()) name = co_await find_page(page, wanted);
        if (!name.ok()) co_return name.error();
        index.entries[page - first] = name.value().encode();
    }
    co_return co_await table_.restore_index(1, number, index);
}

// The slot that holds what the others have.
Task<Result<PageName>> TableRepair::find_page(uint64_t page, const PageValues& wanted) {
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
    PageValues wanted;
    const Status home = co_await source_.page_values(page, PageVersion::home, wanted);
    if (home.ok() && wanted.state == PageState::data) {
        const Result<bool> restored = co_await table_.restore_page(page, wanted.values);
        if (!restored.ok()) co_return restored.error();
        if (restored.value()) co_return Status::success();
    }
    co_return co_await take_current(page);
}

Task<Status> TableRepair::take_current(uint64_t page) {
    PageValues wanted;
    const Status current = co_await source_.page_values(page, PageVersion::current, wanted);
    if (!current.ok()) co_return current;
    if (wanted.state == PageState::data) {
        co_return co_await table_.write_page(page, wanted.values, wanted.sequence);
    }
    co_return co_await table_.mark_zero(page, wanted.sequence);
}

}  // namespace gemel::blockdev
