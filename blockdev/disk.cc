// SPDX-License-Identifier: Apache-2.0
#include "blockdev/disk.h"

namespace gemel {

Disk::Operation::Operation(Disk& disk, IoKind kind, uint64_t offset, IoSegment segment)
    : disk_(disk), segment_(segment) {
    request_.kind = kind;
    request_.offset = offset;
    request_.length = segment.length;
    request_.segments = &segment_;
    request_.segment_count = segment.data != nullptr ? 1 : 0;
}

Disk::Operation::Operation(Disk& disk, IoKind kind, uint64_t offset,
                           std::span<const IoSegment> segments)
    : disk_(disk) {
    request_.kind = kind;
    request_.offset = offset;
    for (const IoSegment& segment : segments) request_.length += segment.length;
    request_.segments = segments.data();
    request_.segment_count = static_cast<uint32_t>(segments.size());
}

Disk::Operation Disk::read(uint64_t offset, std::span<std::byte> data) {
    return {*this, IoKind::read, offset, {data.data(), data.size()}};
}

Disk::Operation Disk::write(uint64_t offset, std::span<const std::byte> data) {
    // Segments serve both directions; a write never modifies its memory.
    return {*this, IoKind::write, offset, {const_cast<std::byte*>(data.data()), data.size()}};
}

Disk::Operation Disk::read_segments(uint64_t offset, std::span<const IoSegment> segments) {
    return {*this, IoKind::read, offset, segments};
}

Disk::Operation Disk::write_segments(uint64_t offset, std::span<const IoSegment> segments) {
    return {*this, IoKind::write, offset, segments};
}

Disk::Operation Disk::sync() { return {*this, IoKind::sync, 0, IoSegment{}}; }

Disk::Operation Disk::punch(uint64_t offset, uint64_t length) {
    return {*this, IoKind::punch, offset, IoSegment{nullptr, length}};
}

Disk::Operation Disk::zero(uint64_t offset, uint64_t length) {
    return {*this, IoKind::zero, offset, IoSegment{nullptr, length}};
}

}  // namespace gemel
