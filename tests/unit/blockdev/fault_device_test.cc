// SPDX-License-Identifier: Apache-2.0
#include "blockdev/fault_device.h"

#include <gtest/gtest.h>

#include <vector>

#include "blockdev/memory_device.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel::blockdev {
namespace {

class FaultDeviceTest : public ::testing::Test {
protected:
    FaultDeviceTest() : memory_(1 << 20), device_(loop_, memory_), scope_(loop_) {}
    ~FaultDeviceTest() override {
        device_.release();
        loop_.run();
    }

    Task<void> keep(Task<Status> task) {
        const Status status = co_await std::move(task);
        outcomes_.push_back(status.ok() ? "ok" : name(status.error().code));
    }
    void begin(Task<Status> task) {
        scope_.start(keep(std::move(task)));
        loop_.run();
    }

    ManualLoop loop_;
    MemoryDevice memory_;
    FaultDevice device_;
    Scope scope_;
    std::vector<std::string> outcomes_;
    std::vector<std::byte> data_ = std::vector<std::byte>(512, std::byte{5});
};

TEST_F(FaultDeviceTest, PassesThrough) {
    begin(device_.write(0, data_, {}));
    begin(device_.flush());
    begin(device_.trim(0, 512, {}));
    begin(device_.write_zeroes(4096, 512, {}));
    EXPECT_EQ(outcomes_, (std::vector<std::string>{"ok", "ok", "ok", "ok"}));
    EXPECT_EQ(memory_.content()[0], std::byte{5});
    EXPECT_EQ(memory_.flushes(), 1u);
    EXPECT_EQ(device_.geometry().size, 1u << 20);
}

TEST_F(FaultDeviceTest, FailsAsOftenAsTold) {
    device_.fail(DeviceVerb::write, Error{Errc::no_space}, 2, 1);
    for (int i = 0; i < 4; ++i) begin(device_.write(0, data_, {}));
    begin(device_.read(0, data_));
    EXPECT_EQ(outcomes_, (std::vector<std::string>{"ok", "no space", "no space", "ok", "ok"}));
    EXPECT_EQ(device_.calls(), 5u);
}

TEST_F(FaultDeviceTest, AFailedWriteChangesNothing) {
    device_.fail(DeviceVerb::write, Error{Errc::io});
    begin(device_.write(0, data_, {}));
    EXPECT_EQ(memory_.content()[0], std::byte{0});
}

TEST_F(FaultDeviceTest, HeldCallsWaitOutsideTheInnerDevice) {
    device_.hold();
    begin(device_.write(0, data_, {}));
    begin(device_.read(0, data_));
    EXPECT_TRUE(outcomes_.empty());
    EXPECT_EQ(device_.inside(), 2u);
    EXPECT_EQ(memory_.content()[0], std::byte{0});
    device_.release();
    loop_.run();
    EXPECT_EQ(outcomes_.size(), 2u);
    EXPECT_EQ(device_.inside(), 0u);
}

TEST_F(FaultDeviceTest, DelayTakesTheClocksTime) {
    device_.set_delay(5 * kMillisecond);
    begin(device_.write(0, data_, {}));
    loop_.run_until(loop_.now_ns() + 5 * kMillisecond - 1);
    EXPECT_TRUE(outcomes_.empty());
    loop_.run_until(loop_.now_ns() + 1);
    EXPECT_EQ(outcomes_.size(), 1u);
}

}  // namespace
}  // namespace gemel::blockdev
