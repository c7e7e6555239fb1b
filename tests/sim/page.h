// SPDX-License-Identifier: Apache-2.0
//
// 4 KiB of a simulated disk, shared by all who hold the same bytes: the platter's durable and
// current state, and the writes that are under way. Copied only when a part of it changes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace gemel::sim {

inline constexpr uint64_t kPageSize = 4096;
inline constexpr uint64_t kSectorSize = 512;
inline constexpr uint64_t kSectorsPerPage = kPageSize / kSectorSize;

class PageRef {
public:
    PageRef() = default;  // A hole: nothing is allocated, zeros are read.
    PageRef(const PageRef& other) : page_(other.page_) {
        if (page_ != nullptr) ++page_->references;
    }
    PageRef(PageRef&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
    PageRef& operator=(PageRef other) noexcept {
        std::swap(page_, other.page_);
        return *this;
    }
    ~PageRef() { release(); }

    static PageRef copy_of(const std::byte* data);
    static PageRef zeros();

    bool is_hole() const { return page_ == nullptr; }
    // kPageSize bytes.
    const std::byte* data() const;
    // Replaces the sectors from `begin` to before `end` by those of `source`.
    void blend(const PageRef& source, uint64_t begin, uint64_t end);
    bool operator==(const PageRef& other) const { return page_ == other.page_; }

private:
    struct Page {
        std::byte data[kPageSize];
        uint64_t references = 1;
    };
    explicit PageRef(Page* page) : page_(page) {}
    void release() {
        if (page_ != nullptr && --page_->references == 0) delete page_;
    }

    Page* page_ = nullptr;
};

}  // namespace gemel::sim
