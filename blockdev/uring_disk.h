// SPDX-License-Identifier: Apache-2.0
//
// A file or block device through io_uring with direct I/O.
#pragma once

#include <memory>

#include "blockdev/disk.h"
#include "blockdev/env.h"
#include "blockdev/uring_env.h"

namespace gemel {

class UringDisk final : public Disk {
public:
    static Outcome<std::unique_ptr<Disk>> open(UringEnv& env, const std::string& path,
                                               DiskOptions options);
    ~UringDisk() override;

    void submit(IoRequest& request) override;
    const DiskTraits& traits() const override { return traits_; }
    uint64_t size() const override { return size_; }
    Result<uint64_t> free_bytes() const override;
    Result<bool> is_blank() override;
    Status resize(uint64_t size) override;
    Status try_lock() override;

private:
    // What the request carries while the kernel has it, in IoRequest::private_to_disk.
    struct InFlight;

    UringDisk(UringEnv& env, int descriptor, DiskTraits traits, uint64_t size)
        : env_(env), descriptor_(descriptor), traits_(std::move(traits)), size_(size) {}
    void prepare(InFlight& flight);
    void prepare_transfer(InFlight& flight);
    void prepare_clear(InFlight& flight);
    void advance(InFlight& flight, int32_t result);
    void finish(InFlight& flight, Status status);
    bool has_space() const;
    Result<bool> is_zero(uint64_t offset, uint64_t length);

    UringEnv& env_;
    int descriptor_;
    DiskTraits traits_;
    uint64_t size_;
    bool sync_failed_ = false;
};

}  // namespace gemel
