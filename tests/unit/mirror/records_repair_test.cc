// SPDX-License-Identifier: Apache-2.0
//
// A member's records about itself: superblocks, owner, health. Each is there twice, or is known in
// memory, so damage to one is never felt; it must be healed all the same, and told.
#include <cstring>

#include "blockdev/health_record.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;
using blockdev::kHealthOffset;
using blockdev::kHealthSlotSize;
using blockdev::kOwnerOffset;
using blockdev::kSuperblockSize;
using blockdev::Superblock;

class RecordsRepairTest : public ::testing::Test {
protected:
    RecordsRepairTest() {
        EXPECT_TRUE(world_.fill(0, 8 * kBlockSize, 1).ok());
        EXPECT_TRUE(world_.drain().ok());
        for (int slot = 0; slot < 2; ++slot) scrub();  // Each writes one health record.
        const auto bytes = world_.store.platter("/m1", 0, kSuperblockSize);
        Superblock superblock;
        std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
        superblock_b_ = blockdev::layout_of(superblock).superblock_b_offset;
    }
    // How many records the pass found damaged.
    uint64_t scrub() {
        const uint64_t passes = world_.volume->report().scrub.passes;
        world_.volume->scrub();
        world_.store.world.run_for(30 * kSecond);
        EXPECT_EQ(world_.volume->report().scrub.passes, passes + 1);
        return world_.volume->report().scrub.logs_healed;
    }
    MemberReport member() { return world_.volume->report().members[1]; }
    void put_back(uint64_t offset, const std::vector<std::byte>& bytes) {
        world_.drive(1).platter().tamper(offset, bytes);
    }
    void wipe(uint64_t offset) { put_back(offset, std::vector<std::byte>(512)); }

    VolumeWorld world_;
    uint64_t superblock_b_ = 0;
};

TEST_F(RecordsRepairTest, ASuperblockThatIsOnlyOlderIsHealed) {
    for (const uint64_t offset : {uint64_t{0}, superblock_b_}) {
        const auto older = world_.store.platter("/m1", offset, kSuperblockSize);
        ASSERT_TRUE(world_.fill(0, kBlockSize, 2).ok());
        ASSERT_TRUE(world_.drain().ok());
        put_back(offset, older);
        EXPECT_EQ(scrub(), 1u);
        EXPECT_EQ(scrub(), 0u);
        EXPECT_NE(world_.store.platter("/m1", offset, kSuperblockSize), older);
    }
}

TEST_F(RecordsRepairTest, AnOwnerRecordOfAnotherProcessIsHealed) {
    const auto of_another = world_.store.platter("/m1", kOwnerOffset, kBlockSize);
    ASSERT_TRUE(world_.close().ok());
    world_.store.restart();
    world_.open();
    const auto own = world_.store.platter("/m1", kOwnerOffset, kBlockSize);
    ASSERT_NE(own, of_another);
    put_back(kOwnerOffset, of_another);
    EXPECT_EQ(scrub(), 1u);
    EXPECT_EQ(world_.store.platter("/m1", kOwnerOffset, kBlockSize), own);
}

TEST_F(RecordsRepairTest, AHealthRecordIsHealedInEitherSlot) {
    for (const uint64_t slot : {0, 1}) {
        wipe(kHealthOffset + slot * kHealthSlotSize);
        EXPECT_EQ(scrub(), 1u);
        EXPECT_EQ(scrub(), 0u);
    }
}

TEST_F(RecordsRepairTest, WhatIsFoundAtOpenIsToldAndHealed) {
    const uint64_t before = member().log_blocks_healed;
    ASSERT_TRUE(world_.close().ok());
    wipe(superblock_b_);
    world_.open();
    EXPECT_EQ(member().log_blocks_healed, before + 1);
    EXPECT_EQ(member().last_event, "event=superblock_damaged copy=B fault=\"magic\"");
    ASSERT_TRUE(world_.close().ok());
    wipe(kHealthOffset);
    world_.open();
    EXPECT_EQ(member().last_event, "event=health_record_damaged");
    EXPECT_EQ(scrub(), 0u);
}

// After a kill one superblock may be behind by one step, and a record torn: no damage.
TEST_F(RecordsRepairTest, WhatACrashLeavesIsNoDamage) {
    const uint64_t before = member().log_blocks_healed;
    ASSERT_TRUE(world_.fill(0, kBlockSize, 3).ok());
    ASSERT_TRUE(world_.flush().ok());
    world_.kill();
    wipe(kHealthOffset);
    world_.open();
    EXPECT_EQ(member().log_blocks_healed, before);
    EXPECT_EQ(scrub(), 0u);
}

}  // namespace
}  // namespace gemel::mirror
