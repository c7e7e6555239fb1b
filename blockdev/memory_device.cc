// SPDX-License-Identifier: Apache-2.0
#include "blockdev/memory_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "blockdev/assert.h"
#include "blockdev/bytes.h"

namespace gemel::blockdev {

namespace {

constexpr uint64_t kPage = 4096;

Error outside() { return {Errc::invalid, 0, "the range lies outside the device"}; }
Error not_writable() { return {Errc::read_only, 0, "the device is read-only"}; }

}  // namespace

MemoryDevice::MemoryDevice(uint64_t size, bool read_only) : pages_(size / kPage, Page::hole) {
    CHECK(size != 0);
    CHECK(size % kPage == 0);
    geometry_.size = size;
    geometry_.read_only = read_only;
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    memory_ = static_cast<std::byte*>(memory);
}

MemoryDevice::~MemoryDevice() { munmap(memory_, geometry_.size); }

bool MemoryDevice::contains(uint64_t offset, uint64_t length) const {
    return offset <= geometry_.size && length <= geometry_.size - offset;
}

Task<Status> MemoryDevice::read(uint64_t offset, std::span<std::byte> data) {
    if (!contains(offset, data.size())) co_return outside();
    if (!data.empty()) std::memcpy(data.data(), memory_ + offset, data.size());
    co_return Status::success();
}

Task<Status> MemoryDevice::write(uint64_t offset, std::span<const std::byte> data, WriteOptions) {
    if (geometry_.read_only) co_return not_writable();
    if (!contains(offset, data.size())) co_return outside();
    if (data.empty()) co_return Status::success();
    std::memcpy(memory_ + offset, data.data(), data.size());
    const uint64_t end = divide_up(offset + data.size(), kPage);
    std::fill(pages_.begin() + offset / kPage, pages_.begin() + end, Page::data);
    co_return Status::success();
}

Task<Status> MemoryDevice::flush() {
    ++flushes_;
    co_return Status::success();
}

// Pages [first, end) become zero, and their memory goes back to the system.
void MemoryDevice::clear_pages(uint64_t first, uint64_t end, Page state) {
    if (first >= end) return;
    CHECK(madvise(memory_ + first * kPage, (end - first) * kPage, MADV_DONTNEED) == 0);
    std::fill(pages_.begin() + first, pages_.begin() + end, state);
}

// Zeroes the parts of a range that do not fill a page.
void MemoryDevice::clear_edges(uint64_t offset, uint64_t length) {
    const uint64_t end = offset + length;
    const uint64_t head_end = std::min(end, round_up(offset, kPage));
    const uint64_t tail = std::max(head_end, round_down(end, kPage));
    std::memset(memory_ + offset, 0, head_end - offset);
    std::memset(memory_ + tail, 0, end - tail);
}

Task<Status> MemoryDevice::trim(uint64_t offset, uint64_t length, WriteOptions) {
    if (geometry_.read_only) co_return not_writable();
    if (!contains(offset, length)) co_return outside();
    clear_pages(divide_up(offset, kPage), (offset + length) / kPage, Page::hole);
    co_return Status::success();
}

Task<Status> MemoryDevice::write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) {
    if (geometry_.read_only) co_return not_writable();
    if (!contains(offset, length)) co_return outside();
    clear_edges(offset, length);
    clear_pages(divide_up(offset, kPage), (offset + length) / kPage,
                options.keep_allocated ? Page::zero : Page::hole);
    co_return Status::success();
}

Task<Result<std::vector<Extent>>> MemoryDevice::extents(uint64_t offset, uint64_t length,
                                                        size_t limit) {
    if (length == 0 || limit == 0 || !contains(offset, length)) co_return outside();
    std::vector<Extent> found;
    const uint64_t end = offset + length;
    while (offset < end) {
        const Page state = pages_[offset / kPage];
        uint64_t page = offset / kPage;
        while (page * kPage < end && pages_[page] == state) ++page;
        if (found.size() == limit) break;
        const uint64_t next = std::min(end, page * kPage);
        found.push_back({next - offset, state != Page::data, state == Page::hole});
        offset = next;
    }
    co_return found;
}

}  // namespace gemel::blockdev
