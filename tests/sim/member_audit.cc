// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/member_audit.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockdev/bytes.h"
#include "blockdev/checksum_table.h"
#include "blockdev/health_record.h"
#include "blockdev/superblock.h"

namespace gemel::sim {

using blockdev::ChecksumPage;
using blockdev::IndexPage;
using blockdev::kIndexEntries;
using blockdev::kPageBlocks;
using blockdev::Layout;
using blockdev::PageName;
using blockdev::PageState;
using blockdev::Superblock;

namespace {

class Audit {
public:
    Audit(Drive& drive, bool closed)
        : drive_(drive), closed_(closed), superblock_(blockdev::make_superblock_buffer()) {}

    std::string run() {
        if (!read_superblocks()) return fault_;
        audit_owner();
        audit_health();
        for (uint64_t root = 0; root < layout_.root_pages(); ++root) {
            const PageName name = PageName::decode(superblock_->roots[root]);
            IndexPage index;
            if (!read_index(2, root, name, index)) continue;
            for (uint64_t i = 0; i < kIndexEntries; ++i) {
                audit_level1(root * kIndexEntries + i, PageName::decode(index.entries[i]));
            }
        }
        return fault_;
    }

private:
    void fault(const std::string& what) {
        if (fault_.empty()) fault_ = drive_.options().path + ": " + what;
    }

    bool read_superblocks() {
        const auto a = blockdev::make_superblock_buffer();
        drive_.platter().read(0, writable_bytes_of(*a));
        const char* fault_a = blockdev::superblock_fault(*a, 0);
        if (fault_a != nullptr) fault(std::string("superblock A: ") + fault_a);
        if (fault_a != nullptr) return false;
        layout_ = blockdev::layout_of(*a);
        const uint64_t offset_b = layout_.superblock_b_offset;
        drive_.platter().read(offset_b, writable_bytes_of(*superblock_));
        const char* fault_b = blockdev::superblock_fault(*superblock_, offset_b);
        if (fault_b != nullptr) fault(std::string("superblock B: ") + fault_b);
        if (fault_b != nullptr) return false;
        compare_superblocks(*a, *superblock_);
        if (a->generation > superblock_->generation) *superblock_ = *a;
        return true;
    }

    // Written one after the other, with the same content.
    void compare_superblocks(const Superblock& a, const Superblock& b) {
        const uint64_t apart = a.generation - b.generation;
        if (apart != 1 && apart != UINT64_MAX) fault("one superblock is older than the other");
        Superblock same = b;
        same.generation = a.generation;
        same.checksum = a.checksum;
        if (std::memcmp(&same, &a, sizeof a) != 0) fault("the superblocks differ");
    }

    void audit_owner() {
        blockdev::OwnerRecord owner;
        drive_.platter().read(blockdev::kOwnerOffset, writable_bytes_of(owner));
        const uint64_t checksum =
            ecc::hash64(bytes_of(owner).subspan(sizeof(le64)), blockdev::kOwnerOffset);
        if (owner.magic != blockdev::kOwnerMagic || owner.checksum != checksum) {
            return fault("the owner record does not prove itself");
        }
        if (owner.superblock_b_offset != layout_.superblock_b_offset) {
            return fault("the owner record names another place for superblock B");
        }
        if ((owner.pid == 0) != closed_) fault("the owner record names another owner");
    }

    // Each slot, once it has been written.
    void audit_health() {
        auto record = std::make_unique<blockdev::HealthRecord>();
        for (uint64_t slot = 0; slot < 2; ++slot) {
            const uint64_t offset = blockdev::kHealthOffset + slot * blockdev::kHealthSlotSize;
            drive_.platter().read(offset, writable_bytes_of(*record));
            if (all_zero(bytes_of(*record))) continue;
            const uint64_t seed = blockdev::place_seed(superblock_->member, offset);
            const uint64_t checksum = ecc::hash64(bytes_of(*record).subspan(sizeof(le64)), seed);
            if (record->checksum != checksum) fault("a health record does not prove itself");
        }
    }

    // False if there is nothing below, or it is wrong.
    bool read_index(unsigned level, uint64_t number, const PageName& name, IndexPage& page) {
        if (name.state == PageState::never_written) return false;
        const uint64_t offset = level == 2 ? layout_.root_page_offset(number, name.slot)
                                           : layout_.index_page_offset(number, name.slot);
        drive_.platter().read(offset, writable_bytes_of(page));
        const uint64_t seed = blockdev::place_seed(superblock_->member, offset);
        const bool whole = page.magic == blockdev::kIndexMagic && page.level == level &&
                           page.number == number && page.checksum == name.checksum &&
                           page.checksum == blockdev::index_page_checksum(page, seed);
        if (!whole) fault("index page of level " + std::to_string(level) + " is not as named");
        return whole;
    }

    void audit_level1(uint64_t number, const PageName& name) {
        IndexPage index;
        if (!read_index(1, number, name, index)) return;
        for (uint64_t i = 0; i < kIndexEntries; ++i) {
            const PageName below = PageName::decode(index.entries[i]);
            const uint64_t page = number * kIndexEntries + i;
            if (below.state == PageState::data) audit_page(page, below);
        }
    }

    void audit_page(uint64_t page, const PageName& name) {
        const std::string place = "checksum page " + std::to_string(page);
        if (page >= layout_.volume_pages()) return fault(place + " lies beyond the volume");
        const uint64_t offset = layout_.checksum_page_offset(page, name.slot);
        ChecksumPage values;
        drive_.platter().read(offset, writable_bytes_of(values));
        const uint64_t seed = blockdev::place_seed(superblock_->member, offset);
        if (ecc::hash64(bytes_of(values), seed) != name.checksum) {
            return fault(place + " is not as named");
        }
        const ecc::BlockHasher hasher(superblock_->secret);
        std::array<std::byte, kPageSize> data;
        const uint64_t first = page * kPageBlocks;
        const uint64_t count = std::min(kPageBlocks, layout_.volume_blocks() - first);
        for (uint64_t i = 0; i < count; ++i) {
            drive_.platter().read(layout_.home(first + i), data);
            const bool right = values.values[i] == 0
                                   ? all_zero(data)
                                   : hasher.checksum(first + i, data.data()) == values.values[i];
            if (right) continue;
            fault("block " + std::to_string(first + i) + " is not what its checksum says");
        }
    }

    Drive& drive_;
    bool closed_;
    std::unique_ptr<Superblock> superblock_;
    Layout layout_;
    std::string fault_;
};

}  // namespace

std::string audit_member(Drive& drive, bool closed) { return Audit(drive, closed).run(); }

}  // namespace gemel::sim
