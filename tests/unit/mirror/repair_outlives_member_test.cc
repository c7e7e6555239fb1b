// SPDX-License-Identifier: Apache-2.0
//
// A repair of a member's tables takes what the others hold. A member that leaves meanwhile, or
// whose log is lost, must not come to say that it has what it never got.
#include "tests/sim/member_audit.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

constexpr int kReadOfRepair = 3;  // The first one is the scrub's own.

class RepairOutlivesMemberTest : public ::testing::Test {
protected:
    RepairOutlivesMemberTest() {
        EXPECT_TRUE(world_.fill(0, 64 * kBlockSize, 1).ok());
        EXPECT_TRUE(world_.close().ok());
        blockdev::Superblock superblock;
        world_.drive(1).platter().read(0, writable_bytes_of(superblock));
        const blockdev::Layout layout = blockdev::layout_of(superblock);
        tables_begin_ = layout.index_offset;
        tables_end_ = layout.superblock_b_offset;
        // And what names it, so that the page must be what the other member knows today.
        const std::vector<std::byte> zeros(2 * kBlockSize);
        world_.drive(1).platter().tamper(layout.checksum_page_offset(0, 0), zeros);
        world_.drive(1).platter().tamper(layout.index_page_offset(0, 0), zeros);
        world_.open();
    }
    // Hangs the drive at the n-th read of member 1's tables.
    void hang_at_read(int n) {
        sim::Drive* drive = &world_.drive(1);
        world_.store.world.watch([this, drive, n](const sim::Moment& moment) {
            const bool table = moment.offset >= tables_begin_ && moment.offset < tables_end_;
            const bool now = moment.kind == sim::MomentKind::submitting;
            if (moment.drive != drive || !table || !now || moment.io != IoKind::read) return;
            if (++reads_ == n) drive->faults.hung = true;
        });
    }
    std::string state() const { return world_.volume->report().members[1].state; }
    void wait_for_state(const std::string& wanted) {
        ASSERT_TRUE(world_.store.world.run_until([&] { return state() == wanted; },
                                                 world_.store.world.now_ns() + 300 * kSecond));
    }
    int value_at_home(uint64_t block) {
        const auto bytes = world_.store.platter("/m1", world_.home(1, block), kBlockSize);
        return std::to_integer<int>(bytes[0]);
    }

    VolumeWorld world_;
    uint64_t tables_begin_ = 0;
    uint64_t tables_end_ = 0;
    int reads_ = 0;
};

TEST_F(RepairOutlivesMemberTest, AMemberThatIsOutTakesNoChecksumsOfWhatItMissed) {
    sim::Drive& drive = world_.drive(1);
    hang_at_read(kReadOfRepair);
    world_.volume->scrub();
    world_.store.world.run_for(500 * kMillisecond);
    ASSERT_TRUE(drive.faults.hung);
    ASSERT_TRUE(world_.fill(0, kBlockSize, 2).ok());  // Ends once member 1 is out.
    wait_for_state("failed");
    ASSERT_TRUE(world_.fill(kBlockSize, 8 * kBlockSize, 2).ok());
    drive.release();
    wait_for_state("in-sync");
    ASSERT_TRUE(world_.close().ok());
    EXPECT_EQ(sim::audit_member(drive), "");
    EXPECT_EQ(value_at_home(3), 2);
    EXPECT_EQ(value_at_home(20), 1);
    world_.open();
}

// The repair comes to its end while a write is in the log alone; then the log is lost.
TEST_F(RepairOutlivesMemberTest, ALogThatIsLostTakesAlongWhatIsOnlyThere) {
    ASSERT_TRUE(world_.fill(0, 8 * kBlockSize, 2).ok());
    ASSERT_TRUE(world_.flush().ok());
    world_.volume->scrub();
    ASSERT_TRUE(world_.store.world.run_until(
        [this] { return world_.volume->report().members[1].tables_repaired != 0; },
        world_.store.world.now_ns() + 900 * kMillisecond));
    ASSERT_NE(world_.volume->report().members[1].log_bytes_used, 0u);
    ASSERT_NE(value_at_home(3), 2);
    // Member 1 leaves before its checkpoint, and the volume goes on without it.
    ASSERT_FALSE(world_.store.run(world_.volume->take_offline(1)));
    ASSERT_TRUE(world_.fill(8 * kBlockSize, kBlockSize, 3).ok());
    ASSERT_TRUE(world_.close().ok());
    const std::vector<std::byte> zeros(1 << 20);
    world_.drive(1).platter().tamper(blockdev::kLogOffset, zeros);
    world_.open();
    ASSERT_FALSE(world_.store.run(world_.volume->bring_online(1)));
    wait_for_state("in-sync");
    ASSERT_TRUE(world_.close().ok());
    EXPECT_EQ(sim::audit_member(world_.drive(1)), "");
    EXPECT_EQ(value_at_home(3), 2);
    EXPECT_EQ(value_at_home(8), 3);
    world_.open();
}

}  // namespace
}  // namespace gemel::mirror
