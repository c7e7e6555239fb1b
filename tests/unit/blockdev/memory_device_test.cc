// SPDX-License-Identifier: Apache-2.0
#include "blockdev/memory_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "blockdev/bytes.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel::blockdev {
namespace {

constexpr uint64_t kSize = 1 << 20;

class MemoryDeviceTest : public ::testing::Test {
protected:
    template <typename T>
    Task<void> keep(Task<T> task, std::optional<T>& out) {
        out = co_await std::move(task);
    }
    template <typename T>
    T wait(Task<T> task) {
        std::optional<T> out;
        Scope scope(loop_);
        scope.start(keep(std::move(task), out));
        loop_.run();
        return *out;
    }
    std::vector<std::byte> read(uint64_t offset, size_t length) {
        std::vector<std::byte> data(length, std::byte{0xff});
        EXPECT_TRUE(wait(device_.read(offset, data)).ok());
        return data;
    }
    void write(uint64_t offset, size_t length, uint8_t value) {
        const std::vector<std::byte> data(length, std::byte{value});
        EXPECT_TRUE(wait(device_.write(offset, data, {})).ok());
    }
    std::vector<Extent> extents(uint64_t offset, uint64_t length, size_t limit) {
        const auto result = wait(device_.extents(offset, length, limit));
        EXPECT_TRUE(result.ok());
        return result.ok() ? result.value() : std::vector<Extent>{};
    }

    ManualLoop loop_;
    MemoryDevice device_{kSize};
};

TEST_F(MemoryDeviceTest, IsZeroThenWhatWasWritten) {
    EXPECT_TRUE(all_zero(read(0, kSize)));
    write(4090, 20, 7);
    EXPECT_EQ(read(4090, 20), std::vector<std::byte>(20, std::byte{7}));
    EXPECT_TRUE(all_zero(read(0, 4090)));
    EXPECT_TRUE(all_zero(read(4110, 4096)));
}

TEST_F(MemoryDeviceTest, RangesOutsideAreInvalid) {
    std::vector<std::byte> data(2);
    EXPECT_EQ(wait(device_.read(kSize - 1, data)).error().code, Errc::invalid);
    EXPECT_EQ(wait(device_.write(kSize, data, {})).error().code, Errc::invalid);
    EXPECT_EQ(wait(device_.trim(UINT64_MAX, 2, {})).error().code, Errc::invalid);
    EXPECT_EQ(wait(device_.write_zeroes(1, UINT64_MAX, {})).error().code, Errc::invalid);
    EXPECT_FALSE(wait(device_.extents(kSize, 1, 1)).ok());
    EXPECT_TRUE(wait(device_.read(kSize, std::span(data).first(0))).ok());
}

TEST_F(MemoryDeviceTest, TrimKeepsPartialPages) {
    write(0, 4 * 4096, 9);
    EXPECT_TRUE(wait(device_.trim(100, 2 * 4096, {})).ok());
    EXPECT_EQ(read(0, 4096), std::vector<std::byte>(4096, std::byte{9}));
    EXPECT_TRUE(all_zero(read(4096, 4096)));
    EXPECT_EQ(read(8192, 4096), std::vector<std::byte>(4096, std::byte{9}));
    EXPECT_TRUE(wait(device_.trim(100, 200, {})).ok());
    EXPECT_EQ(read(0, 4096), std::vector<std::byte>(4096, std::byte{9}));
}

TEST_F(MemoryDeviceTest, ZeroesReachEveryByte) {
    write(0, 4 * 4096, 9);
    EXPECT_TRUE(wait(device_.write_zeroes(100, 2 * 4096, {})).ok());
    EXPECT_TRUE(all_zero(read(100, 2 * 4096)));
    EXPECT_EQ(read(0, 100), std::vector<std::byte>(100, std::byte{9}));
    EXPECT_EQ(read(8292, 100), std::vector<std::byte>(100, std::byte{9}));
    EXPECT_TRUE(wait(device_.write_zeroes(13000, 5, {})).ok());
    EXPECT_TRUE(all_zero(read(13000, 5)));
    EXPECT_EQ(read(12990, 10), std::vector<std::byte>(10, std::byte{9}));
}

TEST_F(MemoryDeviceTest, ExtentsTellHolesFromZerosFromData) {
    write(4096, 4096, 1);
    ZeroOptions keep;
    keep.keep_allocated = true;
    EXPECT_TRUE(wait(device_.write_zeroes(8192, 4096, keep)).ok());
    const auto all = extents(100, kSize - 100, 10);
    ASSERT_EQ(all.size(), 4u);
    EXPECT_EQ(all[0].length, 3996u);
    EXPECT_TRUE(all[0].hole && all[0].zero);
    EXPECT_FALSE(all[1].hole || all[1].zero);
    EXPECT_TRUE(all[2].zero && !all[2].hole);
    EXPECT_EQ(all[3].length, kSize - 3 * 4096);
    EXPECT_EQ(extents(100, kSize - 100, 2).size(), 2u);
    EXPECT_EQ(extents(100, 50, 9)[0].length, 50u);
}

TEST_F(MemoryDeviceTest, AReadOnlyOneRefusesChanges) {
    MemoryDevice device(4096, true);
    EXPECT_TRUE(device.geometry().read_only);
    std::vector<std::byte> data(1);
    EXPECT_EQ(wait(device.write(0, data, {})).error().code, Errc::read_only);
    EXPECT_EQ(wait(device.trim(0, 4096, {})).error().code, Errc::read_only);
    EXPECT_EQ(wait(device.write_zeroes(0, 1, {})).error().code, Errc::read_only);
    EXPECT_TRUE(wait(device.flush()).ok());
}

}  // namespace
}  // namespace gemel::blockdev
