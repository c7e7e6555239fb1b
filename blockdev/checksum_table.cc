// SPDX-License-Identifier: Apache-2.0
#include "blockdev/checksum_table.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kSlotBit = 1;
constexpr unsigned kStateShift = 1;
constexpr unsigned kSequenceShift = 3;
constexpr size_t kMinimumCachedPages = 64;
constexpr size_t kPassedOverMax = 64;  // At one go, when one is needed.

const IndexEntry kNeverWritten{};

}  // namespace

PageName PageName::decode(const IndexEntry& entry) {
    const uint64_t word = entry.word;
    return {word >> kSequenceShift, static_cast<PageState>((word >> kStateShift) & 3),
            static_cast<unsigned>(word & kSlotBit), entry.checksum};
}

IndexEntry PageName::encode() const {
    IndexEntry entry;
    entry.word = sequence << kSequenceShift | static_cast<uint64_t>(state) << kStateShift | slot;
    entry.checksum = checksum;
    return entry;
}

uint64_t index_page_checksum(const IndexPage& page, uint64_t seed) {
    return ecc::hash64(bytes_of(page).subspan(sizeof(le64)), seed);
}

uint64_t newest_sequence(const IndexPage& page) {
    uint64_t newest = 0;
    for (const IndexEntry& entry : page.entries) {
        newest = std::max(newest, PageName::decode(entry).sequence);
    }
    return newest;
}

ChecksumTable::ChecksumTable(Env& env, Disk& disk, const Layout& layout, Uuid member,
                             size_t cache_bytes)
    : disk_(disk),
      layout_(layout),
      member_(member),
      cache_limit_(std::max(cache_bytes / sizeof(ChecksumPage), kMinimumCachedPages)),
      roots_(layout.root_pages()),
      rewritten_(env) {
    levels_[1].pages.resize(layout.index_pages());
    levels_[2].pages.resize(layout.root_pages());
}

void ChecksumTable::load_roots(std::span<const IndexEntry> roots) {
    CHECK(roots.size() == roots_.size());
    std::copy(roots.begin(), roots.end(), roots_.begin());
}

// --- The index

IndexPage& ChecksumTable::index_page(unsigned level, uint64_t number) {
    std::byte* bytes = levels_[level].pages[number].get();
    CHECK(bytes != nullptr);
    return *reinterpret_cast<IndexPage*>(bytes);
}

IndexEntry& ChecksumTable::parent_entry(unsigned level, uint64_t number) {
    if (level == 2) return roots_[number];
    return index_page(2, number / kIndexEntries).entries[number % kIndexEntries];
}

uint64_t ChecksumTable::index_offset(unsigned level, uint64_t number, unsigned slot) const {
    return level == 2 ? layout_.root_page_offset(number, slot)
                      : layout_.index_page_offset(number, slot);
}

// Loads one index page whose parent is loaded.
Task<Status> ChecksumTable::load_index(unsigned level, uint64_t number) {
    if (levels_[level].pages[number]) co_return Status::success();
    const PageName name = PageName::decode(parent_entry(level, number));
    AlignedBytes buffer = allocate_zeroed(sizeof(IndexPage));
    auto& page = *reinterpret_cast<IndexPage*>(buffer.get());
    if (name.state == PageState::never_written) {
        page.magic = kIndexMagic;
        page.level = level;
        page.number = number;
    } else {
        const uint64_t offset = index_offset(level, number, name.slot);
        const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(IndexPage)});
        if (!status.ok()) co_return status;
        if (levels_[level].pages[number]) co_return Status::success();  // Another was faster.
        if (name.state != PageState::data || page.checksum != name.checksum ||
            !is_whole(page, level, number, offset)) {
            co_return Error{Errc::corrupt, 0, "page index"};
        }
    }
    BufferPool::Buffer kept = index_pool_.take(sizeof(IndexPage));
    std::memcpy(kept.get(), buffer.get(), sizeof(IndexPage));
    levels_[level].pages[number] = std::move(kept);
    co_return Status::success();
}

// Loads the index pages that lead to checksum page `page`.
Task<Status> ChecksumTable::load_chain(uint64_t page) {
    const uint64_t number = page / kIndexEntries;
    const Status upper = co_await load_index(2, number / kIndexEntries);
    if (!upper.ok()) co_return upper;
    co_return co_await load_index(1, number);
}

// The entry of a page, if it can be known without reading.
const IndexEntry* ChecksumTable::loaded_entry(uint64_t page) {
    const uint64_t number = page / kIndexEntries;
    if (levels_[1].pages[number]) return &index_page(1, number).entries[page % kIndexEntries];
    const uint64_t upper = number / kIndexEntries;
    const IndexEntry* parent = &roots_[upper];
    if (levels_[2].pages[upper]) parent = &index_page(2, upper).entries[number % kIndexEntries];
    return parent->word == 0 ? &kNeverWritten : nullptr;
}

Task<Result<PageName>> ChecksumTable::page_name(uint64_t page) {
    if (const IndexEntry* entry = loaded_entry(page); entry != nullptr) {
        co_return PageName::decode(*entry);
    }
    const Status status = co_await load_chain(page);
    if (!status.ok()) {
        suspect_ = page;
        co_return status.error();
    }
    co_return PageName::decode(*loaded_entry(page));
}

void ChecksumTable::set_entry(uint64_t page, const PageName& name) {
    const uint64_t number = page / kIndexEntries;
    index_page(1, number).entries[page % kIndexEntries] = name.encode();
    mark_dirty(1, number);
}

void ChecksumTable::mark_dirty(unsigned level, uint64_t number) {
    if (levels_[level].dirty_set.insert(number).second) levels_[level].dirty.push_back(number);
}

Task<Status> ChecksumTable::write_index() {
    for (unsigned level : {1u, 2u}) {
        const Status status = co_await write_level(level);
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

Task<Status> ChecksumTable::write_level(unsigned level) {
    IndexLevel& index = levels_[level];
    std::sort(index.dirty.begin(), index.dirty.end());
    while (!index.dirty.empty()) {
        const uint64_t number = index.dirty.back();
        const Status status = co_await write_index_page(level, number);
        if (!status.ok()) co_return status;
        index.dirty.pop_back();
        index.dirty_set.erase(number);
    }
    co_return Status::success();
}

Task<Status> ChecksumTable::write_index_page(unsigned level, uint64_t number) {
    IndexPage& page = index_page(level, number);
    PageName name = PageName::decode(parent_entry(level, number));
    const bool moved = levels_[level].moved.contains(number);
    if (!moved && name.state == PageState::data) name.slot ^= 1;
    name.state = PageState::data;
    name.sequence = newest_sequence(page);
    const uint64_t offset = index_offset(level, number, name.slot);
    page.checksum = index_page_checksum(page, place_seed(member_, offset));
    name.checksum = page.checksum;
    const Status status = co_await disk_.write(offset, bytes_of(page));
    if (!status.ok()) co_return status;
    levels_[level].moved.insert(number);
    parent_entry(level, number) = name.encode();
    if (level == 1) mark_dirty(2, number / kIndexEntries);
    co_return Status::success();
}

void ChecksumTable::commit_roots() {
    for (IndexLevel& level : levels_) {
        CHECK(level.dirty.empty());
        level.moved.clear();
    }
    moved_pages_.clear();
}

// --- Checksum pages

const ChecksumPage* ChecksumTable::cached(uint64_t page) {
    const auto found = cached_.find(page);
    if (found == cached_.end()) return nullptr;
    found->second->used = true;
    return &found->second->values;
}

const ChecksumPage* ChecksumTable::cache(uint64_t page, const ChecksumPage& values) {
    if (const auto found = cached_.find(page); found != cached_.end()) {
        found->second->values = values;
        return &found->second->values;
    }
    if (cached_.size() >= cache_limit_) {
        // Reuses a node. Pages that were used get another round: to mark one costs a hit less than
        // to move it to the front.
        for (size_t passed = 0; recent_.back().used && passed < kPassedOverMax; ++passed) {
            recent_.back().used = false;
            recent_.splice(recent_.begin(), recent_, std::prev(recent_.end()));
        }
        cached_.erase(recent_.back().number);
        recent_.splice(recent_.begin(), recent_, std::prev(recent_.end()));
    } else {
        recent_.emplace_front();
    }
    recent_.front() = {page, false, values};
    cached_.emplace(page, recent_.begin());
    return &recent_.front().values;
}

Task<Result<const ChecksumPage*>> ChecksumTable::load_page(uint64_t page) {
    const Result<const ChecksumPage*> loaded = co_await try_load_page(page);
    if (!loaded.ok()) suspect_ = page;
    co_return loaded;
}

Task<Result<const ChecksumPage*>> ChecksumTable::try_load_page(uint64_t page) {
    const Status indexed = co_await load_chain(page);
    if (!indexed.ok()) co_return indexed.error();
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    while (true) {
        if (const ChecksumPage* hit = cached(page); hit != nullptr) co_return hit;
        if (rewriting_.contains(page)) {
            co_await rewritten_.wait();
            continue;
        }
        const IndexEntry entry = *loaded_entry(page);
        const PageName name = PageName::decode(entry);
        if (name.state != PageState::data) {
            std::memset(buffer.get(), 0, sizeof(ChecksumPage));
            co_return cache(page, *reinterpret_cast<const ChecksumPage*>(buffer.get()));
        }
        const uint64_t offset = layout_.checksum_page_offset(page, name.slot);
        const Status status = co_await disk_.read(offset, {buffer.get(), sizeof(ChecksumPage)});
        if (!status.ok()) co_return status.error();
        // The checkpoint may have moved the page on while it was read.
        if (std::memcmp(loaded_entry(page), &entry, sizeof entry) != 0 ||
            rewriting_.contains(page)) {
            continue;
        }
        const auto& values = *reinterpret_cast<const ChecksumPage*>(buffer.get());
        if (page_checksum(page, name.slot, values) != name.checksum) {
            co_return Error{Errc::corrupt, 0, "checksum page"};
        }
        co_return cache(page, values);
    }
}

bool ChecksumTable::try_lookup(uint64_t first_block, std::span<uint64_t> out) {
    size_t done = 0;
    while (done < out.size()) {
        const uint64_t block = first_block + done;
        const uint64_t page = block / kPageBlocks;
        const uint64_t within = block % kPageBlocks;
        const size_t count = std::min<uint64_t>(out.size() - done, kPageBlocks - within);
        const IndexEntry* entry = loaded_entry(page);
        if (entry == nullptr) return false;
        if (PageName::decode(*entry).state != PageState::data) {
            std::fill_n(out.begin() + static_cast<ptrdiff_t>(done), count, 0);
        } else {
            const ChecksumPage* values = cached(page);
            if (values == nullptr) return false;
            for (size_t i = 0; i < count; ++i) out[done + i] = values->values[within + i];
        }
        done += count;
    }
    return true;
}

Task<Status> ChecksumTable::lookup(uint64_t first_block, std::span<uint64_t> out) {
    size_t done = 0;
    while (done < out.size()) {
        const uint64_t block = first_block + done;
        const uint64_t within = block % kPageBlocks;
        const size_t count = std::min<uint64_t>(out.size() - done, kPageBlocks - within);
        const std::span<uint64_t> part = out.subspan(done, count);
        if (!try_lookup(block, part)) {
            const auto loaded = co_await load_page(block / kPageBlocks);
            if (!loaded.ok()) co_return loaded.error();
            for (size_t i = 0; i < count; ++i) part[i] = loaded.value()->values[within + i];
        }
        done += count;
    }
    co_return Status::success();
}

Task<Status> ChecksumTable::write_page(uint64_t page, const ChecksumPage& values,
                                       uint64_t sequence) {
    const Status indexed = co_await load_chain(page);
    if (!indexed.ok()) {
        suspect_ = page;
        co_return indexed;
    }
    PageName name = PageName::decode(*loaded_entry(page));
    const bool moved = moved_pages_.contains(page);
    if (!moved && name.state == PageState::data) name.slot ^= 1;
    // A page that goes on from zero or never written: no durable entry names any of its slots.
    const uint64_t offset = layout_.checksum_page_offset(page, name.slot);
    AlignedBytes buffer = allocate_aligned(sizeof(ChecksumPage));
    std::memcpy(buffer.get(), &values, sizeof(ChecksumPage));
    name.state = PageState::data;
    name.sequence = std::max(name.sequence, sequence);
    name.checksum = page_checksum(page, name.slot, values);
    if (moved) rewriting_.insert(page);
    const Status status = co_await disk_.write(offset, {buffer.get(), sizeof(ChecksumPage)});
    if (moved) {
        rewriting_.erase(page);
        rewritten_.notify_all();
    }
    if (!status.ok()) co_return status;
    moved_pages_.insert(page);
    cache(page, values);
    set_entry(page, name);
    co_return Status::success();
}

Task<Status> ChecksumTable::mark_zero(uint64_t page, uint64_t sequence) {
    const Status indexed = co_await load_chain(page);
    if (!indexed.ok()) {
        suspect_ = page;
        co_return indexed;
    }
    PageName name = PageName::decode(*loaded_entry(page));
    // The durable index still names the page in this slot: should data come to the page before that
    // is superseded (a checkpoint that is repeated), it must go to the other one.
    if (name.state == PageState::data && moved_pages_.insert(page).second) name.slot ^= 1;
    name.state = PageState::zero;
    name.sequence = std::max(name.sequence, sequence);
    name.checksum = 0;
    if (const auto found = cached_.find(page); found != cached_.end()) {
        recent_.erase(found->second);
        cached_.erase(found);
    }
    set_entry(page, name);
    co_return Status::success();
}

Task<Status> ChecksumTable::raise(uint64_t page, uint64_t sequence) {
    const Result<PageName> named = co_await page_name(page);
    if (!named.ok()) co_return named.error();
    if (named.value().sequence >= sequence) co_return Status::success();
    if (named.value().state != PageState::data) co_return co_await mark_zero(page, sequence);
    const Status indexed = co_await load_chain(page);
    if (!indexed.ok()) co_return indexed;
    PageName name = PageName::decode(*loaded_entry(page));
    name.sequence = std::max(name.sequence, sequence);
    set_entry(page, name);
    co_return Status::success();
}

// Index pages of never written ones are made anew when they are needed, in slot 0: what the roots
// on disk name may be overwritten then, so a crash may leave a mixture. Whoever does this must have
// recorded before that nothing here counts.
void ChecksumTable::forget_all() {
    for (IndexEntry& root : roots_) root = IndexEntry{};
    for (IndexLevel& level : levels_) {
        for (BufferPool::Buffer& page : level.pages) page = BufferPool::Buffer{};
        level.moved.clear();
        level.dirty.clear();
        level.dirty_set.clear();
    }
    moved_pages_.clear();
    recent_.clear();
    cached_.clear();
    suspect_.reset();
}

// From the roots down: what an entry names was not written after its number.
Task<Result<std::vector<uint64_t>>> ChecksumTable::newer_pages(uint64_t after, uint64_t first_page,
                                                               uint64_t end_page) {
    std::vector<uint64_t> pages;
    for (uint64_t page = first_page; page < end_page;) {
        const uint64_t number = page / kIndexEntries;
        const uint64_t upper = number / kIndexEntries;
        const bool changed_above =
            levels_[2].dirty_set.contains(upper) || !levels_[1].dirty.empty();
        if (!changed_above && PageName::decode(roots_[upper]).sequence <= after) {
            page = (upper + 1) * kIndexEntries * kIndexEntries;
            continue;
        }
        if (const Status loaded = co_await load_index(2, upper); !loaded.ok()) {
            suspect_ = page;
            co_return loaded.error();
        }
        const IndexEntry& parent = index_page(2, upper).entries[number % kIndexEntries];
        const bool changed = levels_[1].dirty_set.contains(number);
        if (!changed && PageName::decode(parent).sequence <= after) {
            page = (number + 1) * kIndexEntries;
            continue;
        }
        if (const Status loaded = co_await load_index(1, number); !loaded.ok()) {
            suspect_ = page;
            co_return loaded.error();
        }
        const uint64_t end = std::min(end_page, (number + 1) * kIndexEntries);
        for (; page < end; ++page) {
            const PageName name =
                PageName::decode(index_page(1, number).entries[page % kIndexEntries]);
            if (name.sequence > after) pages.push_back(page);
        }
    }
    co_return pages;
}

uint64_t ChecksumTable::memory_bytes() const {
    uint64_t pages = cached_.size();
    for (const IndexLevel& level : levels_) {
        for (const BufferPool::Buffer& page : level.pages) pages += page ? 1 : 0;
    }
    return pages * kBlockSize;
}

}  // namespace gemel::blockdev
