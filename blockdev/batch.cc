// SPDX-License-Identifier: Apache-2.0
#include "blockdev/batch.h"

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

std::byte* checksum_at(std::byte* block, size_t entries, uint64_t index) {
    return block + sizeof(BatchHeader) + entries * sizeof(LogEntry) + index * sizeof(le64);
}

uint64_t header_checksum(const std::byte* block) {
    return ecc::hash64({block + sizeof(le64), kBlockSize - sizeof(le64)});
}

const BatchHeader& header_of(const std::byte* block) {
    return *reinterpret_cast<const BatchHeader*>(block);
}

std::span<const LogEntry> entries_of(const std::byte* block) {
    return {reinterpret_cast<const LogEntry*>(block + sizeof(BatchHeader)),
            size_t{header_of(block).entries}};
}

uint64_t stored_checksum(const std::byte* block, uint64_t index) {
    const size_t entries = header_of(block).entries;
    le64 value;
    std::memcpy(&value, checksum_at(const_cast<std::byte*>(block), entries, index), sizeof value);
    return value;
}

// Every EntryKind an entry may have today, with the rules for its range.
const char* entry_fault(const LogEntry& entry, uint64_t volume_blocks) {
    const uint64_t first = entry.first_block;
    const uint64_t count = entry.block_count;
    if (entry.reserved != 0) return "entry reserved bytes";
    switch (static_cast<EntryKind>(entry.kind.get())) {
        case EntryKind::none: return first == 0 && count == 0 ? nullptr : "entry range";
        case EntryKind::write:
        case EntryKind::trim:
        case EntryKind::write_zeroes:
            if (count == 0 || first >= volume_blocks || count > volume_blocks - first) {
                return "entry range";
            }
            return nullptr;
        case EntryKind::intent: return "entry kind: an intent needs a newer Gemel";
    }
    return "entry kind";
}

}  // namespace

bool batch_fits(size_t entries, uint64_t payload_blocks) {
    return payload_blocks <= kMaximumPayloadBlocks &&
           entries * sizeof(LogEntry) + payload_blocks * sizeof(le64) <= kBatchIndexBytes;
}

BatchRef Batch::encode(BufferPool& pool, const ecc::BlockHasher& hasher, const BatchPlace& place,
                       std::span<const BatchWrite> writes) {
    uint32_t payload_blocks = 0;
    for (const BatchWrite& write : writes) {
        if (write.kind == EntryKind::write) payload_blocks += write.block_count;
    }
    CHECK(!writes.empty() && batch_fits(writes.size(), payload_blocks));

    BufferPool::Buffer buffer = pool.take((1 + uint64_t{payload_blocks}) * kBlockSize);
    std::byte* block = buffer.get();
    std::memset(block, 0, kBlockSize);
    auto& header = *reinterpret_cast<BatchHeader*>(block);
    header.magic = kBatchMagic;
    header.version = static_cast<uint16_t>(kFormatVersion);
    header.entries = static_cast<uint16_t>(writes.size());
    header.volume = place.volume;
    header.epoch_id = place.epoch_id;
    header.first_sequence = place.first_sequence;
    header.commit_point = place.commit_point;
    header.stable_point = place.stable_point;
    header.previous_hash = place.previous_hash;
    header.payload_blocks = payload_blocks;

    auto* entry = reinterpret_cast<LogEntry*>(block + sizeof(BatchHeader));
    uint32_t index = 0;
    for (const BatchWrite& write : writes) {
        entry->first_block = write.first_block;
        entry->block_count = write.block_count;
        entry->kind = static_cast<uint16_t>(write.kind);
        ++entry;
        if (write.kind != EntryKind::write) continue;
        for (uint32_t i = 0; i < write.block_count; ++i, ++index) {
            std::byte* target = block + (1 + uint64_t{index}) * kBlockSize;
            std::memcpy(target, write.data + uint64_t{i} * kBlockSize, kBlockSize);
            const le64 value = hasher.checksum(write.first_block + i, target);
            std::memcpy(checksum_at(block, writes.size(), index), &value, sizeof value);
        }
    }
    header.checksum = header_checksum(block);
    return std::make_shared<const Batch>(std::move(buffer));
}

BatchRef Batch::adopt(BufferPool::Buffer bytes) {
    return std::make_shared<const Batch>(std::move(bytes));
}

std::span<const LogEntry> Batch::entries() const { return entries_of(bytes_.get()); }

uint64_t Batch::payload_checksum(uint32_t index) const {
    return stored_checksum(bytes_.get(), index);
}

const char* batch_header_fault(std::span<const std::byte> block, const Uuid& volume,
                               uint64_t volume_blocks) {
    CHECK(block.size() >= kBlockSize);
    const BatchHeader& header = header_of(block.data());
    if (header.magic != kBatchMagic) return "magic";
    if (header.checksum != header_checksum(block.data())) return "checksum";
    if (header.version != kFormatVersion) return "version";
    if (header.volume != volume) return "volume";
    if (header.reserved != 0) return "reserved bytes";
    if (header.entries == 0 || !batch_fits(header.entries, header.payload_blocks)) return "sizes";
    if (header.first_sequence == 0 || header.first_sequence > kMaximumSequence) return "sequence";
    uint64_t payload_blocks = 0;
    for (const LogEntry& entry : entries_of(block.data())) {
        if (const char* fault = entry_fault(entry, volume_blocks); fault != nullptr) return fault;
        if (entry.kind == static_cast<uint16_t>(EntryKind::write)) {
            payload_blocks += entry.block_count;
        }
    }
    return payload_blocks == header.payload_blocks ? nullptr : "payload size";
}

const char* batch_payload_fault(std::span<const std::byte> bytes, const ecc::BlockHasher& hasher) {
    const std::byte* block = bytes.data();
    CHECK(bytes.size() >= (1 + uint64_t{header_of(block).payload_blocks}) * kBlockSize);
    uint32_t index = 0;
    for (const LogEntry& entry : entries_of(block)) {
        if (entry.kind != static_cast<uint16_t>(EntryKind::write)) continue;
        for (uint32_t i = 0; i < entry.block_count; ++i, ++index) {
            const std::byte* payload = block + (1 + uint64_t{index}) * kBlockSize;
            if (hasher.checksum(entry.first_block + i, payload) != stored_checksum(block, index)) {
                return "payload checksum";
            }
        }
    }
    return nullptr;
}

}  // namespace gemel::blockdev
