// SPDX-License-Identifier: Apache-2.0
//
// One open description of a simulated drive, held by one process.
#pragma once

#include "blockdev/disk.h"
#include "tests/sim/drive.h"

namespace gemel::sim {

class SimDisk final : public Disk {
public:
    SimDisk(SimEnv& process, Drive& drive, uint64_t handle, bool read_only);
    ~SimDisk() override;

    void submit(IoRequest& request) override;
    const DiskTraits& traits() const override { return traits_; }
    uint64_t size() const override;
    Result<uint64_t> free_bytes() const override;
    Result<bool> is_blank() override;
    Status resize(uint64_t size) override;
    Status try_lock() override;

private:
    SimEnv& process_;
    Drive& drive_;
    uint64_t handle_;
    DiskTraits traits_;
};

}  // namespace gemel::sim
