// SPDX-License-Identifier: Apache-2.0
#include "blockdev/watched_disk.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class WatchedDiskTest : public ::testing::Test {
protected:
    WatchedDiskTest() {
        drive_ = &world_.world.add_drive({.path = "/disk", .size = kMiB, .is_block_device = true});
        auto opened = world_.env->open_disk("/disk", DiskOptions{});
        CHECK(opened.ok());
        disk_.emplace(*world_.env, std::move(opened).value());
    }
    Task<void> write_once(std::optional<Status>* status) {
        *status = co_await disk_->write(0, {data_.get(), kBlockSize});
    }
    Task<void> sync_once(std::optional<Status>* status) { *status = co_await disk_->sync(); }
    Task<Status> write() { co_return co_await disk_->write(0, {data_.get(), kBlockSize}); }
    Task<Status> read() { co_return co_await disk_->read(0, {data_.get(), kBlockSize}); }
    Task<Status> sync() { co_return co_await disk_->sync(); }

    StoreWorld world_;
    sim::Drive* drive_ = nullptr;
    std::optional<WatchedDisk> disk_;
    AlignedBytes data_ = tagged_blocks(1, 1);
};

TEST_F(WatchedDiskTest, KnowsSinceWhenTheOldestRequestIsInFlight) {
    EXPECT_EQ(disk_->progress().oldest_request_ns, UINT64_MAX);
    drive_->faults.hung = true;
    std::optional<Status> first, flushed;
    const uint64_t began = world_.env->now_ns();
    world_.start(write_once(&first));
    world_.world.run_for(5 * kMillisecond);
    world_.start(sync_once(&flushed));
    world_.world.run_for(5 * kMillisecond);
    EXPECT_EQ(disk_->progress().oldest_request_ns, began);
    EXPECT_GE(disk_->progress().oldest_flush_ns, began + 5 * kMillisecond);
    EXPECT_EQ(disk_->progress().in_flight, 2u);
    EXPECT_EQ(disk_->progress().completed, 0u);
    drive_->release();
    EXPECT_TRUE(world_.finish());
    EXPECT_EQ(disk_->progress().oldest_request_ns, UINT64_MAX);
    EXPECT_EQ(disk_->progress().oldest_flush_ns, UINT64_MAX);
    EXPECT_EQ(disk_->progress().completed, 2u);
    EXPECT_EQ(disk_->progress().last_completed_ns, world_.env->now_ns());
}

TEST_F(WatchedDiskTest, APassingWriteErrorIsRepeatedAndCounted) {
    size_t passed = 0;
    double errors = 0;
    drive_->faults.write_error_rate = sim::kCertain / 2;
    for (int i = 0; i < 200; ++i) passed += world_.run(write()).ok() ? 1 : 0;
    errors = disk_->progress().errors;
    // An eighth fails three times in a row; without repeating half would.
    EXPECT_GT(passed, 150u);
    EXPECT_LT(passed, 200u);
    EXPECT_GT(errors, 100.0);
}

TEST_F(WatchedDiskTest, AWriteThatAlwaysFailsIsGivenUp) {
    drive_->faults.write_error_rate = sim::kCertain;
    EXPECT_FALSE(world_.run(write()).ok());
    EXPECT_NEAR(disk_->progress().errors, 1.0 + WatchedDisk::kWriteRetries, 0.01);
}

TEST_F(WatchedDiskTest, AFlushIsNeverRepeated) {
    drive_->faults.sync_error_rate = sim::kCertain;
    EXPECT_FALSE(world_.run(sync()).ok());
    EXPECT_NEAR(disk_->progress().errors, 1.0, 0.01);
    drive_->faults.sync_error_rate = 0;
    EXPECT_FALSE(world_.run(sync()).ok());  // Nor does another one make up for it.
}

TEST_F(WatchedDiskTest, OldErrorsAreForgotten) {
    drive_->faults.unreadable_pages.insert(0);
    for (int i = 0; i < 5; ++i) EXPECT_FALSE(world_.run(read()).ok());
    const double before = disk_->progress().errors;
    EXPECT_GT(before, 9.9);
    world_.world.run_for(3 * WatchedDisk::kForgetError_ns);
    EXPECT_NEAR(disk_->progress().errors, before - 3, 0.01);
    world_.world.run_for(30 * WatchedDisk::kForgetError_ns);
    EXPECT_EQ(disk_->progress().errors, 0.0);
}

}  // namespace
}  // namespace gemel::blockdev
