// SPDX-License-Identifier: Apache-2.0
#include "blockdev/layout.h"

#include "blockdev/assert.h"

namespace gemel::blockdev {

Layout make_layout(uint64_t volume_size, uint64_t maximum_size, uint64_t log_size) {
    CHECK(volume_size > 0 && volume_size % kBlockSize == 0);
    CHECK(maximum_size >= volume_size && maximum_size <= kMaximumVolumeSize);
    CHECK(log_size % kMiB == 0 && log_size >= kMinimumLogSize && log_size <= kMaximumLogSize);
    Layout layout;
    layout.volume_size = volume_size;
    layout.maximum_size = maximum_size;
    layout.log_size = log_size;
    layout.root_offset = kLogOffset + log_size;
    layout.index_offset = layout.root_offset + layout.root_pages() * kSlots * kBlockSize;
    layout.checksum_offset = layout.index_offset + layout.index_pages() * kSlots * kBlockSize;
    layout.superblock_b_offset =
        layout.checksum_offset + layout.maximum_pages() * kSlots * kBlockSize;
    layout.home_offset = round_up(layout.superblock_b_offset + kSuperblockSize, kMiB);
    return layout;
}

GeometryRecord to_record(const Layout& layout) {
    GeometryRecord record{};
    record.maximum_size = layout.maximum_size;
    record.log_offset = kLogOffset;
    record.log_size = layout.log_size;
    record.root_offset = layout.root_offset;
    record.index_offset = layout.index_offset;
    record.checksum_offset = layout.checksum_offset;
    record.superblock_b_offset = layout.superblock_b_offset;
    record.home_offset = layout.home_offset;
    record.log_limit = layout.log_limit;
    record.flags = layout.preallocated ? kPreallocated : 0;
    return record;
}

const char* geometry_fault(const GeometryRecord& record) {
    const uint64_t maximum = record.maximum_size;
    const uint64_t log = record.log_size;
    if (maximum < kBlockSize || maximum > kMaximumVolumeSize) return "maximum size";
    if (log % kMiB != 0 || log < kMinimumLogSize || log > kMaximumLogSize) return "log size";
    if (record.log_limit == 0 || record.log_limit % kBlockSize != 0 ||
        record.log_limit >= kMaximumPayloadBlocks * kBlockSize) {
        return "log limit";
    }
    if ((record.flags & ~kPreallocated) != 0) return "geometry flags";
    // The offsets follow from the sizes; stored so that other tools need not know the arithmetic.
    const Layout expected = make_layout(kBlockSize, maximum, log);
    if (record.log_offset != kLogOffset || record.root_offset != expected.root_offset ||
        record.index_offset != expected.index_offset ||
        record.checksum_offset != expected.checksum_offset ||
        record.superblock_b_offset != expected.superblock_b_offset ||
        record.home_offset != expected.home_offset) {
        return "geometry offsets";
    }
    return nullptr;
}

Layout from_record(const GeometryRecord& record, uint64_t volume_size) {
    CHECK(geometry_fault(record) == nullptr);
    Layout layout = make_layout(volume_size, record.maximum_size, record.log_size);
    layout.log_limit = record.log_limit;
    layout.preallocated = (record.flags & kPreallocated) != 0;
    return layout;
}

}  // namespace gemel::blockdev
