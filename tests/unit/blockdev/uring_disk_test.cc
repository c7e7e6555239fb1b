// SPDX-License-Identifier: Apache-2.0
//
// A file on the real kernel, as on a local file system and as on one that may hang.
#include "blockdev/uring_disk.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "blockdev/bytes.h"
#include "blockdev/task.h"

namespace gemel {
namespace {

constexpr uint64_t kBlock = kIoAlignment;
// More than a hanging disk may have in the kernel at a time.
constexpr uint64_t kBlocks = 5 * UringDisk::kHangingMax;

class UringDiskTest : public ::testing::TestWithParam<bool> {
protected:
    UringDiskTest() {
        auto made = UringEnv::create({.log_sink = [](LogLevel, std::string_view) {}});
        if (made.ok()) env_ = std::move(made).value();
        char folder[] = "/tmp/gemel-disk-XXXXXX";
        if (mkdtemp(folder) != nullptr) folder_ = folder;
    }
    ~UringDiskTest() override {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    void SetUp() override {
        if (env_ == nullptr) GTEST_SKIP() << "this kernel has no io_uring for us";
        ASSERT_FALSE(folder_.empty());
    }

    std::unique_ptr<Disk> open() {
        const std::string path = folder_ + "/disk";
        const DiskOptions options{.create = true};
        auto disk = GetParam() ? UringDisk::open_as_hanging(*env_, path, options)
                               : UringDisk::open(*env_, path, options);
        EXPECT_TRUE(disk.ok()) << (disk.ok() ? "" : disk.error().text);
        return disk.ok() ? std::move(disk).value() : nullptr;
    }

    std::unique_ptr<UringEnv> env_;
    std::string folder_;
};

INSTANTIATE_TEST_SUITE_P(Both, UringDiskTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "MayHang" : "Local"; });

struct Block {
    AlignedBytes bytes = allocate_aligned(kBlock);
    Status status = Error{Errc::io, 0, "not done"};
};

Task<void> write_block(Disk& disk, uint64_t number, Block& block) {
    std::fill_n(block.bytes.get(), kBlock, static_cast<std::byte>(number));
    block.status = co_await disk.write(number * kBlock, {block.bytes.get(), kBlock});
}

Task<void> read_block(Disk& disk, uint64_t number, Block& block) {
    block.status = co_await disk.read(number * kBlock, {block.bytes.get(), kBlock});
}

Task<void> write_all(Env& env, Disk& disk, std::vector<Block>& blocks) {
    Scope scope(env);
    for (uint64_t i = 0; i < kBlocks; ++i) scope.start(write_block(disk, i, blocks[i]));
    co_await scope.join();
}

Task<void> read_all(Env& env, Disk& disk, std::vector<Block>& blocks) {
    Scope scope(env);
    for (uint64_t i = 0; i < kBlocks; ++i) scope.start(read_block(disk, i, blocks[i]));
    co_await scope.join();
}

TEST_P(UringDiskTest, CarriesOutMoreThanTheKernelGetsAtATime) {
    const std::unique_ptr<Disk> disk = open();
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(disk->resize(kBlocks * kBlock).ok());
    std::vector<Block> written(kBlocks);
    env_->run(write_all(*env_, *disk, written));
    std::vector<Block> read(kBlocks);
    env_->run(read_all(*env_, *disk, read));
    for (uint64_t i = 0; i < kBlocks; ++i) {
        ASSERT_TRUE(written[i].status.ok()) << i << ": " << written[i].status.error().text();
        ASSERT_TRUE(read[i].status.ok()) << i << ": " << read[i].status.error().text();
        ASSERT_TRUE(std::equal(written[i].bytes.get(), written[i].bytes.get() + kBlock,
                               read[i].bytes.get()))
            << i;
    }
}

Task<void> one_of_each(Disk& disk, std::vector<Status>& outcomes) {
    const AlignedBytes bytes = allocate_zeroed(4 * kBlock);
    bytes[0] = std::byte{7};
    const IoSegment parts[] = {{bytes.get(), kBlock}, {bytes.get() + kBlock, 3 * kBlock}};
    outcomes.push_back(co_await disk.write_segments(0, parts));
    outcomes.push_back(co_await disk.read_segments(0, parts));
    outcomes.push_back(co_await disk.sync());
    outcomes.push_back(co_await disk.punch(kBlock, kBlock));
    outcomes.push_back(co_await disk.zero(2 * kBlock, kBlock));
    outcomes.push_back(co_await disk.read(0, {bytes.get(), kBlock}));
    outcomes.push_back(bytes[0] == std::byte{7} ? Status::success() : Error{});
}

TEST_P(UringDiskTest, CarriesOutEveryKind) {
    const std::unique_ptr<Disk> disk = open();
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(disk->resize(8 * kBlock).ok());
    std::vector<Status> outcomes;
    env_->run(one_of_each(*disk, outcomes));
    ASSERT_EQ(outcomes.size(), 7u);
    for (const Status& outcome : outcomes) EXPECT_TRUE(outcome.ok()) << outcome.error().text();
}

Task<void> read_beyond(Disk& disk, Block& block) {
    block.status = co_await disk.read(100 * kBlock, {block.bytes.get(), kBlock});
}

TEST_P(UringDiskTest, ReportsFailure) {
    const std::unique_ptr<Disk> disk = open();
    ASSERT_NE(disk, nullptr);
    Block block;
    env_->run(read_beyond(*disk, block));
    ASSERT_FALSE(block.status.ok());
    EXPECT_EQ(block.status.error().code, Errc::io);
}

Task<void> sleep_a_little(Env& env) { co_await sleep_for(env, kMillisecond); }

TEST_P(UringDiskTest, KnowsItsSpaceAndKeepsItsLock) {
    std::unique_ptr<Disk> disk = open();
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(disk->free_bytes().ok());
    EXPECT_GT(disk->free_bytes().value(), 0u);
    ASSERT_TRUE(disk->try_lock().ok());
    const std::unique_ptr<Disk> other = open();
    EXPECT_EQ(other->try_lock().error().code, Errc::busy);
    disk.reset();  // In the background where it may hang.
    bool locked = false;
    for (int tries = 0; tries < 60'000 && !locked; ++tries) {
        locked = other->try_lock().ok();
        if (!locked) env_->run(sleep_a_little(*env_));
    }
    EXPECT_TRUE(locked);
}

}  // namespace
}  // namespace gemel
