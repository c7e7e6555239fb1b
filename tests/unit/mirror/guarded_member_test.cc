// SPDX-License-Identifier: Apache-2.0
#include "mirror/guarded_member.h"

#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kMiB;

constexpr uint64_t kBlocks = 512;

class GuardedMemberTest : public ::testing::Test {
protected:
    GuardedMemberTest() : pool_(64 * kMiB), doorbell_(*world_.env) {
        blockdev::add_quick_member(world_, "/m0", blockdev::small_layout(),
                                   blockdev::fixed_configuration(1), 0);
        auto opened = blockdev::open_member(world_, "/m0", pool_);
        CHECK(opened.ok());
        member_ =
            std::make_unique<GuardedMember>(*world_.env, std::move(opened).value(), doorbell_);
        memory_ = allocate_aligned(kBlocks * blockdev::kBlockSize);
    }

    blockdev::StoreWorld world_;
    blockdev::BufferPool pool_;
    Doorbell doorbell_;
    std::unique_ptr<GuardedMember> member_;
    AlignedBytes memory_;
};

// A volume keeps the shells of all that ever left it.
TEST_F(GuardedMemberTest, OnceRetiredItKeepsNoBuffers) {
    ASSERT_TRUE(world_.run(member_->read_raw(0, kBlocks, memory_.get())).ok());
    EXPECT_GE(member_->bytes_kept(), kMiB);
    member_->give_up();
    ASSERT_TRUE(member_->quiet());
    member_->retire();
    EXPECT_EQ(member_->bytes_kept(), 0u);
}

}  // namespace
}  // namespace gemel::mirror
