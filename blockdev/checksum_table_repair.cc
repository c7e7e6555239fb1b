// SPDX-License-Identifier: Apache-2.0
//
// The parts of ChecksumTable that find damage and put right what was damaged.
#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/checksum_table.h"

namespace gemel::blockdev {

bool ChecksumTable::is_whole(const IndexPage& page, unsigned level, uint64_t number,
                             uint64_t offset) const {
    return page.magic == kIndexMagic && page.level == level && page.number == number &&
           page.checksum == index_page_checksum(page, place_seed(member_, offset));
}

uint64_t ChecksumTable::page_checksum(uint64_t page, unsigned slot,
                                      const ChecksumPage& values) const {
    return ecc::hash64(bytes_of(values),
                       place_seed(member_, layout_.checksum_page_offset(page, slot)));
}

Task<TableFault> ChecksumTable::probe(uint64_t page) {
    const uint64_t level1 = page / kIndexEntries;
    const Status upper = co_await load_index(2, level1 / kIndexEntries);
    if (!upper.ok()) co_return TableFault::level2;
    const Status lower = co_await load_index(1, level1);
    if (!lower.ok()) co_return TableFault::level1;
    const Result<const ChecksumPage*> values = co_await try_load_page(page);
    co_return values.ok() ? TableFault::none : TableFault::page;
}

Task<Status> ChecksumTable::write_and_read_back(uint64_t offset, std::span<const std::byte> bytes) {
    AlignedBytes buffer = allocate_aligned(bytes.size());
    std::memcpy(buffer.get(), bytes.data(), bytes.size());
    const Status written = co_await disk_.write(offset, {buffer.get(), bytes.size()});
    if (!written.ok()) co_return written;
    std::memset(buffer.get(), 0, bytes.size());
    const Status read = co_await disk_.read(offset, {buffer.get(), bytes.size()});
    if (!read.ok()) co_return read;
    if (std::memcmp(buffer.get(), bytes.data(), bytes.size()) != 0) {
        co_return Error{Errc::io, 0, "what was written does not stay"};
    }
    co_return Status::success();
}

BufferPool::Buffer ChecksumTable::make_index(unsigned level, uint64_t number,
                                             const IndexPage& entries) {
    BufferPool::Buffer buffer = index_pool_.take(sizeof(IndexPage));
    auto& page = *reinterpret_cast<IndexPage*>(buffer.get());
    std::memset(buffer.get(), 0, sizeof(IndexPage));
    page.magic = kIndexMagic;
    page.level = level;
    page.number = number;
    std::copy(std::begin(entries.entries), std::end(entries.entries), std::begin(page.entries));
    const unsigned slot = PageName::decode(parent_entry(level, number)).slot;
    page.checksum =
        index_page_checksum(page, place_seed(member_, index_offset(level, number, slot)));
    return buffer;
}

Task<Result<bool>> ChecksumTable::restore_index(unsigned level, uint64_t number,
                                                const IndexPage& entries) {
    const PageName name = PageName::decode(parent_entry(level, number));
    BufferPool::Buffer buffer = make_index(level, number, entries);
    const auto& page = *reinterpret_cast<const IndexPage*>(buffer.get());
    if (name.state != PageState::data || page.checksum != name.checksum) co_return false;
    const Status stays =
        co_await write_and_read_back(index_offset(level, number, name.slot), bytes_of(page));
    if (levels_[level].pages[number]) co_return true;
    levels_[level].pages[number] = std::move(buffer);
    if (!stays.ok()) mark_dirty(level, number);  // It goes to the other slot.
    co_return true;
}

void ChecksumTable::replace_index(unsigned level, uint64_t number, const IndexPage& entries) {
    // After an error that has passed a reader may have found it right meanwhile.
    if (levels_[level].pages[number]) return;
    levels_[level].pages[number] = make_index(level, number, entries);
    mark_dirty(level, number);
}

Task<Result<bool>> ChecksumTable::restore_page(uint64_t page, const ChecksumPage& values) {
    const PageName name = PageName::decode(*loaded_entry(page));
    if (name.state != PageState::data || page_checksum(page, name.slot, values) != name.checksum) {
        co_return false;
    }
    cache(page, values);  // They are right, whatever the disk makes of them.
    const Status written = co_await write_and_read_back(
        layout_.checksum_page_offset(page, name.slot), bytes_of(values));
    if (!written.ok()) co_return written.error();
    co_return true;
}

Task<bool> ChecksumTable::index_is_on_disk(uint64_t offset, uint64_t checksum) {
    AlignedBytes buffer = allocate_aligned(kBlockSize);
    const Status status = co_await disk_.read(offset, {buffer.get(), kBlockSize});
    if (!status.ok()) co_return false;
    const auto& page = *reinterpret_cast<const IndexPage*>(buffer.get());
    co_return page.checksum == checksum&& index_page_checksum(page, place_seed(member_, offset)) ==
        checksum;
}

// What is read and good is kept: whoever looks at a page's table wants its checksums next.
Task<bool> ChecksumTable::page_is_on_disk(uint64_t page) {
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    const PageName name = PageName::decode(*loaded_entry(page));
    const uint64_t offset = layout_.checksum_page_offset(page, name.slot);
    const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(ChecksumPage)});
    if (!status.ok()) co_return false;
    const auto& values = *reinterpret_cast<const ChecksumPage*>(buffer.get());
    if (page_checksum(page, name.slot, values) != name.checksum) co_return false;
    cache(page, values);
    co_return true;
}

Task<Result<ChecksumTable::Inspection>> ChecksumTable::inspect(uint64_t page) {
    Inspection found;
    const uint64_t level1 = page / kIndexEntries;
    const uint64_t numbers[] = {0, level1, level1 / kIndexEntries};
    const bool begins[] = {true, page % kIndexEntries == 0,
                           page % (kIndexEntries * kIndexEntries) == 0};
    for (const unsigned level : {2u, 1u}) {
        const uint64_t number = numbers[level];
        const Status loaded = co_await load_index(level, number);
        if (!loaded.ok()) {
            found.fault = level == 2 ? TableFault::level2 : TableFault::level1;
            co_return found;
        }
        const PageName name = PageName::decode(parent_entry(level, number));
        if (name.state != PageState::data || levels_[level].dirty_set.contains(number)) continue;
        if (!begins[level]) continue;
        const uint64_t offset = index_offset(level, number, name.slot);
        const bool good = co_await index_is_on_disk(offset, name.checksum);
        if (good) continue;
        const Status written =
            co_await write_and_read_back(offset, bytes_of(index_page(level, number)));
        if (!written.ok()) co_return written.error();
        ++found.rewritten;
    }
    const PageName name = PageName::decode(*loaded_entry(page));
    if (name.state != PageState::data) co_return found;
    const bool good = co_await page_is_on_disk(page);
    if (good) co_return found;
    const ChecksumPage* values = cached(page);
    if (values == nullptr) {
        found.fault = TableFault::page;
        co_return found;
    }
    const ChecksumPage copy = *values;
    const Result<bool> restored = co_await restore_page(page, copy);
    if (!restored.ok()) co_return restored.error();
    if (restored.value()) {
        ++found.rewritten;
    } else {
        found.fault = TableFault::page;
    }
    co_return found;
}

}  // namespace gemel::blockdev
