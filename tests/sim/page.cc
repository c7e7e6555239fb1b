// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/page.h"

#include <cstring>

namespace gemel::sim {

namespace {

constexpr std::byte kZeros[kPageSize] = {};

}  // namespace

PageRef PageRef::copy_of(const std::byte* data) {
    // A log being created is megabytes of zeros.
    if (std::memcmp(data, kZeros, kPageSize) == 0) return zeros();
    auto* page = new Page;
    std::memcpy(page->data, data, kPageSize);
    return PageRef(page);
}

PageRef PageRef::zeros() {
    static Page shared{};
    ++shared.references;
    return PageRef(&shared);
}

const std::byte* PageRef::data() const { return page_ != nullptr ? page_->data : kZeros; }

void PageRef::blend(const PageRef& source, uint64_t begin, uint64_t end) {
    if (begin >= end) return;
    if (begin == 0 && end == kSectorsPerPage) {
        *this = source;
        return;
    }
    std::byte whole[kPageSize];
    std::memcpy(whole, data(), kPageSize);
    std::memcpy(whole + begin * kSectorSize, source.data() + begin * kSectorSize,
                (end - begin) * kSectorSize);
    *this = copy_of(whole);
}

}  // namespace gemel::sim
