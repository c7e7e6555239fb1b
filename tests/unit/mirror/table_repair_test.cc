// SPDX-License-Identifier: Apache-2.0
//
// Several structures damaged at once, on one member or on both: what is left of a table must not
// be taken for more than it is, and what proves itself must be found, wherever it lies.
#include <cstring>

#include "blockdev/checksum_table.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::IndexPage;
using blockdev::kBlockSize;
using blockdev::Layout;
using blockdev::PageName;

// A volume of one index page a level, written twice and closed: the slots hold both versions.
class TwiceWritten : public VolumeWorld {
public:
    static constexpr uint64_t kBlocks = 16;

    TwiceWritten() {
        write_all(kOld);
        old_home_ = home_of_block_3();
        write_all(kNew);
        EXPECT_TRUE(close().ok());
        const auto bytes = store.platter(path(0), 0, blockdev::kSuperblockSize);
        std::memcpy(static_cast<void*>(&superblock_), bytes.data(), bytes.size());
        layout_ = blockdev::layout_of(superblock_);
        find_places();
    }
    // The index of the last checkpoint. That of the one before it looks whole.
    void damage_both_levels(size_t member) {
        wipe(member, level2_[member]);
        wipe(member, level1_[member]);
    }
    void damage_level2(size_t member) { wipe(member, level2_[member]); }
    void damage_page(size_t member) { wipe(member, page_[member]); }
    void put_back_block_3(size_t member) {
        drive(member).platter().tamper(layout_.home(3), old_home_);
    }
    void expect_all_new() {
        for (int round = 0; round < 3; ++round) {
            for (uint64_t block = 0; block < kBlocks; ++block) {
                EXPECT_EQ(value_of(block * kBlockSize, kBlockSize), kNew + static_cast<int>(block))
                    << "block " << block;
            }
            static_cast<void>(read(0, kBlockSize));  // Next time from the other member.
        }
    }
    void expect_scrubbed_clean() {
        volume->scrub();
        store.world.run_for(60 * kSecond);
        const ScrubReport first = volume->report().scrub;
        EXPECT_EQ(first.passes, 1u);
        volume->scrub();
        store.world.run_for(60 * kSecond);
        const ScrubReport second = volume->report().scrub;
        EXPECT_EQ(second.passes, 2u);
        EXPECT_EQ(second.blocks_healed + second.tables_repaired + second.logs_healed, 0u);
        EXPECT_EQ(volume->report().unrecoverable_blocks, 0u);
    }

    static constexpr uint8_t kOld = 10;
    static constexpr uint8_t kNew = 100;

private:
    void find_places() {
        for (const size_t member : {0u, 1u}) {
            const PageName root = PageName::decode(newest(member).roots[0]);
            level2_[member] = layout_.root_page_offset(0, root.slot);
            const PageName level2 = first_name(member, level2_[member]);
            level1_[member] = layout_.index_page_offset(0, level2.slot);
            const PageName level1 = first_name(member, level1_[member]);
            page_[member] = layout_.checksum_page_offset(0, level1.slot);
        }
    }
    void write_all(uint8_t value) {
        for (uint64_t block = 0; block < kBlocks; ++block) {
            const auto own = static_cast<uint8_t>(value + block);
            EXPECT_TRUE(fill(block * kBlockSize, kBlockSize, own).ok());
        }
        EXPECT_TRUE(drain().ok());
    }
    std::vector<std::byte> home_of_block_3() { return store.platter(path(0), home(0, 3), 4096); }
    blockdev::Superblock newest(size_t member) {
        blockdev::Superblock copies[2];
        const uint64_t offsets[] = {0, layout_.superblock_b_offset};
        for (size_t i = 0; i < 2; ++i) {
            const auto bytes = store.platter(path(member), offsets[i], blockdev::kSuperblockSize);
            std::memcpy(static_cast<void*>(&copies[i]), bytes.data(), bytes.size());
        }
        return copies[copies[0].generation.get() > copies[1].generation.get() ? 0 : 1];
    }
    PageName first_name(size_t member, uint64_t offset) {
        IndexPage page;
        const auto bytes = store.platter(path(member), offset, sizeof page);
        std::memcpy(static_cast<void*>(&page), bytes.data(), bytes.size());
        return PageName::decode(page.entries[0]);
    }
    void wipe(size_t member, uint64_t offset) {
        drive(member).platter().tamper(offset, std::vector<std::byte>(kBlockSize, std::byte{0xa5}));
    }

    blockdev::Superblock superblock_;
    Layout layout_;
    std::vector<std::byte> old_home_;
    uint64_t level2_[2] = {};
    uint64_t level1_[2] = {};
    uint64_t page_[2] = {};
};

// What would be read from the damaged member: its old index names the old checksums, for which the
// old block is right.
TEST(TableRepair, AnOlderIndexDoesNotMakeAnOlderBlockPass) {
    TwiceWritten world;
    world.damage_both_levels(1);
    world.put_back_block_3(1);
    world.open();
    world.expect_all_new();
    world.expect_scrubbed_clean();
}

// The other member's lost page must not be replaced by what the older index names.
TEST(TableRepair, APageIsRestoredFromAMemberWhoseIndexIsLost) {
    TwiceWritten world;
    world.damage_both_levels(1);
    world.damage_page(0);
    world.damage_home(1, 5);
    world.open();
    world.expect_all_new();
    world.expect_scrubbed_clean();
}

// Each one's page is lost, and what the other one has proves itself only by the former's index.
TEST(TableRepair, OneIndexAndOnePageAreEnoughWhereverTheyLie) {
    TwiceWritten world;
    world.damage_both_levels(0);
    world.damage_page(1);
    world.damage_home(0, 7);
    world.damage_home(1, 8);
    world.open();
    world.expect_all_new();
    world.expect_scrubbed_clean();
}

TEST(TableRepair, TheUpperIndexIsFoundFromTheLowerOne) {
    TwiceWritten world;
    world.damage_level2(0);
    world.damage_level2(1);
    world.damage_home(0, 2);
    world.damage_home(1, 9);
    world.open();
    world.expect_all_new();
    world.expect_scrubbed_clean();
}

}  // namespace
}  // namespace gemel::mirror
