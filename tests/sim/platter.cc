// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/platter.h"

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"

namespace gemel::sim {

Platter::Leaf* Platter::find_leaf(uint64_t number) const {
    if (number == cached_number_) return cached_leaf_;
    const auto found = leaves_.find(number);
    if (found == leaves_.end()) return nullptr;
    cached_number_ = number;
    cached_leaf_ = found->second.get();
    return cached_leaf_;
}

Platter::Cell& Platter::cell(uint64_t page) {
    const uint64_t number = page / kLeafPages;
    Leaf* leaf = find_leaf(number);
    if (leaf == nullptr) {
        leaf = leaves_.emplace(number, std::make_unique<Leaf>()).first->second.get();
    }
    return (*leaf)[page % kLeafPages];
}

void Platter::set_current(Cell& cell, PageRef page) {
    if (file_system_ != nullptr) {
        if (cell.current.is_hole() && !page.is_hole()) ++file_system_->used_pages;
        if (!cell.current.is_hole() && page.is_hole()) --file_system_->used_pages;
    }
    cell.current = std::move(page);
}

void Platter::resize(uint64_t size) {
    size_ = size;
    const uint64_t end = (size + kPageSize - 1) / kPageSize;
    for (auto& [number, leaf] : leaves_) {
        for (uint64_t i = 0; i < kLeafPages; ++i) {
            if (number * kLeafPages + i < end) continue;
            set_current((*leaf)[i], PageRef());
            (*leaf)[i].durable = PageRef();
        }
    }
}

void Platter::read(uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
        const uint64_t page = offset / kPageSize;
        const uint64_t inside = offset % kPageSize;
        const size_t count = std::min<size_t>(out.size(), kPageSize - inside);
        const Leaf* leaf = find_leaf(page / kLeafPages);
        if (leaf == nullptr) {
            std::memset(out.data(), 0, count);
        } else {
            std::memcpy(out.data(), (*leaf)[page % kLeafPages].current.data() + inside, count);
        }
        offset += count;
        out = out.subspan(count);
    }
}

void Platter::tamper(uint64_t offset, std::span<const std::byte> data) {
    std::array<std::byte, kPageSize> whole;
    while (!data.empty()) {
        const uint64_t inside = offset % kPageSize;
        const size_t count = std::min<size_t>(data.size(), kPageSize - inside);
        Cell& target = cell(offset / kPageSize);
        std::memcpy(whole.data(), target.current.data(), kPageSize);
        std::memcpy(whole.data() + inside, data.data(), count);
        set_current(target, PageRef::copy_of(whole.data()));
        target.durable = target.current;
        offset += count;
        data = data.subspan(count);
    }
}

Platter::Image Platter::image() const {
    Image image;
    for (const auto& [number, leaf] : leaves_) {
        for (uint64_t i = 0; i < kLeafPages; ++i) {
            if (!(*leaf)[i].current.is_hole()) {
                image.emplace_back(number * kLeafPages + i, (*leaf)[i].current);
            }
        }
    }
    return image;
}

void Platter::restore(const Image& image) {
    unsynced_.clear();
    auto next = image.begin();
    for (const auto& [number, leaf] : leaves_) {
        for (uint64_t i = 0; i < kLeafPages; ++i) {
            Cell& target = (*leaf)[i];
            const bool in_image = next != image.end() && next->first == number * kLeafPages + i;
            const PageRef page = in_image ? (next++)->second : PageRef();
            if (!(target.current == page)) set_current(target, page);
            target.durable = page;
        }
    }
    CHECK(next == image.end());
}

uint64_t Platter::holes(uint64_t first_page, uint64_t page_count) const {
    uint64_t count = 0;
    for (uint64_t page = first_page; page < first_page + page_count; ++page) {
        const Leaf* leaf = find_leaf(page / kLeafPages);
        if (leaf == nullptr || (*leaf)[page % kLeafPages].current.is_hole()) ++count;
    }
    return count;
}

bool Platter::all_holes() const {
    for (const auto& [number, leaf] : leaves_) {
        for (const Cell& cell : *leaf) {
            if (!cell.current.is_hole()) return false;
        }
    }
    return true;
}

// Calls function(cell, source page, first sector, end sector) for each page of `change` that has
// sectors in [begin, end). A punch leaves out what was never touched: it may be a terabyte long.
template <typename F>
void Platter::for_each_cell(const Change& change, uint64_t begin, uint64_t end, F&& function) {
    if (begin >= end) return;
    const uint64_t last = (end - 1) / kSectorsPerPage;
    uint64_t index = begin / kSectorsPerPage;
    while (index <= last) {
        const uint64_t page = change.first_page + index;
        if (change.kind == IoKind::punch && find_leaf(page / kLeafPages) == nullptr) {
            const auto next = leaves_.upper_bound(page / kLeafPages);
            if (next == leaves_.end()) return;
            index = next->first * kLeafPages - change.first_page;
            continue;
        }
        const uint64_t start = index * kSectorsPerPage;
        const uint64_t from = std::max(begin, start) - start;
        const uint64_t to = std::min(end, start + kSectorsPerPage) - start;
        function(cell(page), index, from, to);
        ++index;
    }
}

void Platter::apply(const Change& change, uint64_t begin, uint64_t end, bool to_durable) {
    const PageRef cleared = change.kind == IoKind::zero ? PageRef::zeros() : PageRef();
    const auto one = [&](Cell& cell, uint64_t index, uint64_t from, uint64_t to) {
        const PageRef& source = change.kind == IoKind::write ? change.pages[index] : cleared;
        PageRef target = to_durable ? cell.durable : cell.current;
        target.blend(source, from, to);
        if (to_durable) {
            cell.durable = std::move(target);
        } else {
            set_current(cell, std::move(target));
        }
    };
    for_each_cell(change, begin, end, one);
}

void Platter::land(Change& change, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    apply(change, begin, end, false);
    const bool first = change.landed_begin == change.landed_end;
    change.landed_begin = first ? begin : std::min(change.landed_begin, begin);
    change.landed_end = first ? end : std::max(change.landed_end, end);
}

void Platter::completed(Change change) {
    if (change.landed_begin == change.landed_end) return;
    change.order = ++completions_;
    unsynced_.push_back(std::move(change));
}

void Platter::make_durable(const Change& change) {
    apply(change, change.landed_begin, change.landed_end, true);
}

void Platter::synced(uint64_t sync_point) {
    while (!unsynced_.empty() && unsynced_.front().order <= sync_point) {
        if (unsynced_.front().lasting) {
            make_durable(unsynced_.front());
        } else {
            dropped_.push_back(std::move(unsynced_.front()));
        }
        unsynced_.pop_front();
    }
}

// The kernel marks the pages clean although the disk may not have them: a later sync succeeds and
// covers nothing of them. What is readable does not change.
void Platter::sync_failed(uint64_t sync_point, Random& random) {
    for (Change& change : unsynced_) {
        if (change.order <= sync_point && random.coin()) change.lasting = false;
    }
}

void Platter::revert(const Change& change) {
    const auto one = [this](Cell& cell, uint64_t, uint64_t, uint64_t) {
        set_current(cell, cell.durable);
    };
    for_each_cell(change, 0, change.sectors(), one);
}

// Keeps a part of the change: one run of its sectors, or each sector, or each page, by chance.
void Platter::keep_torn(const Change& change, Random& random) {
    const uint64_t end = change.landed_end;
    const uint64_t way = change.kind == IoKind::write ? random.below(3) : 0;
    if (way == 0) {
        const uint64_t from = random.between(change.landed_begin, end);
        apply(change, from, random.between(from, end), true);
        return;
    }
    const uint64_t unit = way == 1 ? 1 : kSectorsPerPage;
    for (uint64_t sector = change.landed_begin; sector < end; sector += unit) {
        if (random.coin()) apply(change, sector, std::min(sector + unit, end), true);
    }
}

void Platter::lose_power(std::vector<Change> in_flight, LossStyle style, Random& random) {
    std::vector<Change> open;
    for (Change& change : unsynced_) open.push_back(std::move(change));
    unsynced_.clear();
    for (Change& change : in_flight) {
        change.landed_begin = 0;
        change.landed_end = change.sectors();
        open.push_back(std::move(change));
    }
    const uint64_t chosen = open.empty() ? 0 : random.below(open.size());
    const auto keep_rate = static_cast<uint32_t>(random.between(1, kCertain));
    const auto tear_rate = random.coin() ? 0 : static_cast<uint32_t>(random.below(kCertain / 2));
    for (uint64_t i = 0; i < open.size(); ++i) {
        bool keep = false;
        switch (style) {
            case LossStyle::lose_all: break;
            case LossStyle::keep_all: keep = true; break;
            case LossStyle::keep_some: keep = random.chance(keep_rate); break;
            case LossStyle::keep_oldest: keep = i < chosen; break;
            case LossStyle::keep_newest: keep = i >= chosen; break;
            case LossStyle::lose_one: keep = i != chosen; break;
            case LossStyle::keep_one: keep = i == chosen; break;
        }
        if (!keep || !open[i].lasting) continue;
        if (random.chance(tear_rate)) {
            keep_torn(open[i], random);
        } else {
            make_durable(open[i]);
        }
    }
    for (const Change& change : open) revert(change);
    for (const Change& change : dropped_) revert(change);
    dropped_.clear();
}

}  // namespace gemel::sim
