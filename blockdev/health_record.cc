// SPDX-License-Identifier: Apache-2.0
#include "blockdev/health_record.h"

#include <algorithm>
#include <cstring>

namespace gemel::blockdev {

namespace {

uint64_t slot_offset(uint64_t generation) {
    return kHealthOffset + generation % 2 * kHealthSlotSize;
}

uint64_t record_checksum(const HealthRecord& record, const Uuid& member, uint64_t offset) {
    return ecc::hash64(bytes_of(record).subspan(sizeof(le64)), place_seed(member, offset));
}

// The numbers that are simply copied, once for both directions.
struct Field {
    le64 HealthRecord::* stored;
    uint64_t MemberHealth::* value;
};
constexpr Field kFields[] = {
    {&HealthRecord::blocks_verified, &MemberHealth::blocks_verified},
    {&HealthRecord::mismatches, &MemberHealth::mismatches},
    {&HealthRecord::blocks_healed, &MemberHealth::blocks_healed},
    {&HealthRecord::tables_repaired, &MemberHealth::tables_repaired},
    {&HealthRecord::log_blocks_healed, &MemberHealth::log_blocks_healed},
    {&HealthRecord::read_errors, &MemberHealth::read_errors},
    {&HealthRecord::write_errors, &MemberHealth::write_errors},
    {&HealthRecord::last_event_s, &MemberHealth::last_event_s},
    {&HealthRecord::scrub_next_page, &MemberHealth::scrub_next_page},
    {&HealthRecord::scrub_started_s, &MemberHealth::scrub_started_s},
    {&HealthRecord::scrub_finished_s, &MemberHealth::scrub_finished_s},
    {&HealthRecord::scrub_passes, &MemberHealth::scrub_passes},
    {&HealthRecord::generation, &MemberHealth::generation},
};

bool is_valid(const HealthRecord& record, const Uuid& member, uint64_t offset) {
    return record.magic == kHealthMagic && record.version == kFormatVersion &&
           record.range_count <= kHealthRanges &&
           record.checksum == record_checksum(record, member, offset);
}

MemberHealth decode(const HealthRecord& record) {
    MemberHealth health;
    for (const auto& [stored, value] : kFields) health.*value = record.*stored;
    std::copy(std::begin(record.healed_by_cause), std::end(record.healed_by_cause),
              health.healed_by_cause.begin());
    health.last_event.assign(record.last_event,
                             strnlen(record.last_event, sizeof record.last_event));
    for (uint32_t i = 0; i < record.range_count; ++i) {
        health.unrecoverable.push_back(
            {record.ranges[i].first_block, record.ranges[i].block_count});
    }
    health.unrecoverable_is_complete = record.ranges_missing == 0;
    return health;
}

}  // namespace

Task<MemberHealth> read_health(Disk& disk, Uuid member) {
    MemberHealth newest;
    AlignedBytes buffer = allocate_aligned(kHealthSlotSize);
    const auto& record = *reinterpret_cast<const HealthRecord*>(buffer.get());
    for (uint64_t slot = 0; slot < 2; ++slot) {
        const uint64_t offset = slot_offset(slot);
        const Status status = co_await disk.read(offset, {buffer.get(), kHealthSlotSize});
        if (!status.ok() || !is_valid(record, member, offset)) continue;
        if (record.generation > newest.generation) newest = decode(record);
    }
    co_return newest;
}

Task<uint64_t> count_damaged_health(Disk& disk, Uuid member, uint64_t generation) {
    uint64_t damaged = 0;
    AlignedBytes buffer = allocate_aligned(kHealthSlotSize);
    const auto& record = *reinterpret_cast<const HealthRecord*>(buffer.get());
    for (uint64_t slot = 0; slot < 2; ++slot) {
        const uint64_t offset = slot_offset(slot);
        const Status status = co_await disk.read(offset, {buffer.get(), kHealthSlotSize});
        // Of the two newest generations; 0 or less: it is as the member's making has left it.
        const bool newest = generation % 2 == slot;
        const bool written = newest ? generation != 0 : generation > 1;
        const bool whole = written ? is_valid(record, member, offset) &&
                                         record.generation + (newest ? 0 : 1) == generation
                                   : all_zero({buffer.get(), kHealthSlotSize});
        damaged += status.ok() && whole ? 0 : 1;
    }
    co_return damaged;
}

Task<Status> write_health(Disk& disk, Uuid member, const MemberHealth& health) {
    AlignedBytes buffer = allocate_zeroed(kHealthSlotSize);
    auto& record = *reinterpret_cast<HealthRecord*>(buffer.get());
    for (const auto& [stored, value] : kFields) record.*stored = health.*value;
    record.magic = kHealthMagic;
    record.version = kFormatVersion;
    std::copy(health.healed_by_cause.begin(), health.healed_by_cause.end(),
              std::begin(record.healed_by_cause));
    std::memcpy(record.last_event, health.last_event.data(),
                std::min(health.last_event.size(), sizeof record.last_event));
    const size_t ranges = std::min(health.unrecoverable.size(), kHealthRanges);
    for (size_t i = 0; i < ranges; ++i) {
        record.ranges[i].first_block = health.unrecoverable[i].first_block;
        record.ranges[i].block_count = health.unrecoverable[i].block_count;
    }
    record.range_count = static_cast<uint32_t>(ranges);
    record.ranges_missing =
        ranges < health.unrecoverable.size() || !health.unrecoverable_is_complete ? 1 : 0;
    const uint64_t offset = slot_offset(health.generation);
    record.checksum = record_checksum(record, member, offset);
    co_return co_await disk.write(offset, {buffer.get(), kHealthSlotSize});
}

}  // namespace gemel::blockdev
