// SPDX-License-Identifier: Apache-2.0
#include "blockdev/fault_device.h"

#include <cstddef>

namespace gemel::blockdev {

namespace {

// Counts a call for as long as it is inside.
class Inside {
public:
    explicit Inside(uint64_t& count) : count_(count) { ++count_; }
    ~Inside() { --count_; }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

private:
    uint64_t& count_;
};

}  // namespace

void FaultDevice::release() {
    held_ = false;
    opened_.notify_all();
}

void FaultDevice::fail(DeviceVerb verb, Error error, uint64_t count, uint64_t skip) {
    plans_[static_cast<size_t>(verb)] = {skip, count, error};
}

Task<Status> FaultDevice::pass(DeviceVerb verb) {
    ++calls_;
    Plan& plan = plans_[static_cast<size_t>(verb)];
    bool fails = false;
    if (plan.count != 0) {
        fails = plan.skip == 0;
        --(fails ? plan.count : plan.skip);
    }
    const Error error = plan.error;
    if (delay_ns_ != 0) co_await sleep_for(loop_, delay_ns_);
    while (held_) co_await opened_.wait();
    if (fails) co_return error;
    co_return Status::success();
}

Task<Status> FaultDevice::read(uint64_t offset, std::span<std::byte> data) {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::read);
    if (!passed.ok()) co_return passed;
    for (const Range& bad : spoiled_) {
        if (offset < bad.offset + bad.length && bad.offset < offset + data.size()) {
            co_return Error{Errc::io, 0, "spoiled"};
        }
    }
    co_return co_await inner_.read(offset, data);
}

Task<Status> FaultDevice::write(uint64_t offset, std::span<const std::byte> data,
                                WriteOptions options) {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::write);
    if (!passed.ok()) co_return passed;
    co_return co_await inner_.write(offset, data, options);
}

Task<Status> FaultDevice::flush() {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::flush);
    if (!passed.ok()) co_return passed;
    co_return co_await inner_.flush();
}

Task<Status> FaultDevice::trim(uint64_t offset, uint64_t length, WriteOptions options) {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::trim);
    if (!passed.ok()) co_return passed;
    co_return co_await inner_.trim(offset, length, options);
}

Task<Status> FaultDevice::write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::write_zeroes);
    if (!passed.ok()) co_return passed;
    co_return co_await inner_.write_zeroes(offset, length, options);
}

Task<Result<std::vector<Extent>>> FaultDevice::extents(uint64_t offset, uint64_t length,
                                                       size_t limit) {
    const Inside inside(inside_);
    const Status passed = co_await pass(DeviceVerb::extents);
    if (!passed.ok()) co_return passed.error();
    co_return co_await inner_.extents(offset, length, limit);
}

}  // namespace gemel::blockdev
