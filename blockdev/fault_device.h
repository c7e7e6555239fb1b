// SPDX-License-Identifier: Apache-2.0
//
// FaultDevice: a decorator that delays, holds back or fails what passes through it.
#pragma once

#include <vector>

#include "blockdev/block_device.h"
#include "blockdev/event.h"

namespace gemel::blockdev {

enum class DeviceVerb : uint8_t { read, write, flush, trim, write_zeroes, extents };

class FaultDevice final : public BlockDevice {
public:
    // `inner` outlives it.
    FaultDevice(Loop& loop, BlockDevice& inner) : loop_(loop), inner_(inner), opened_(loop) {}

    // Every call takes at least this long from now on.
    void set_delay(uint64_t delay_ns) { delay_ns_ = delay_ns; }
    // Calls wait, before they reach the inner device, until release().
    void hold() { held_ = true; }
    void release();
    // The next `count` calls of that verb, after skipping `skip`, fail with `error`.
    void fail(DeviceVerb verb, Error error, uint64_t count = 1, uint64_t skip = 0);
    // Every read that touches the range fails, as on a disk with bad sectors there.
    void spoil(uint64_t offset, uint64_t length) { spoiled_.push_back({offset, length}); }
    // How many calls are inside now, and how many have come in all.
    uint64_t inside() const { return inside_; }
    uint64_t calls() const { return calls_; }

    const Geometry& geometry() const override { return inner_.geometry(); }
    Task<Status> read(uint64_t offset, std::span<std::byte> data) override;
    Task<Status> write(uint64_t offset, std::span<const std::byte> data,
                       WriteOptions options) override;
    Task<Status> flush() override;
    Task<Status> trim(uint64_t offset, uint64_t length, WriteOptions options) override;
    Task<Status> write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) override;
    Task<Result<std::vector<Extent>>> extents(uint64_t offset, uint64_t length,
                                              size_t limit) override;

private:
    struct Plan {
        uint64_t skip = 0;
        uint64_t count = 0;
        Error error;
    };

    // Waits as told, then says whether the call may go on.
    Task<Status> pass(DeviceVerb verb);

    Loop& loop_;
    BlockDevice& inner_;
    Event opened_;
    struct Range {
        uint64_t offset = 0;
        uint64_t length = 0;
    };
    std::vector<Range> spoiled_;
    Plan plans_[6];
    uint64_t delay_ns_ = 0;
    uint64_t inside_ = 0;
    uint64_t calls_ = 0;
    bool held_ = false;
};

}  // namespace gemel::blockdev
