// SPDX-License-Identifier: Apache-2.0
//
// A file or block device through io_uring with direct I/O.
//
// On a file system that may hang nothing of it may hold up the reactor, or the other disks. Then
// every request goes straight to one of the kernel's workers (where FUSE asks its daemon for the
// file's attributes before it reads, it does so inside io_uring_enter else), at most kHangingMax at
// a time, and this disk brings workers for so many along; the free space is what a probe saw last;
// and the file is closed by the probe's thread.
#pragma once

#include <deque>
#include <memory>

#include "blockdev/disk.h"
#include "blockdev/env.h"
#include "blockdev/uring_env.h"
#include "blockdev/uring_space_probe.h"

namespace gemel {

class UringDisk final : public Disk {
public:
    static Outcome<std::unique_ptr<Disk>> open(UringEnv& env, const std::string& path,
                                               DiskOptions options);
    // As if its file system might hang, whatever it is: for tests.
    static Outcome<std::unique_ptr<Disk>> open_as_hanging(UringEnv& env, const std::string& path,
                                                          DiskOptions options);
    ~UringDisk() override;

    static constexpr unsigned kHangingMax = 32;

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
    static Outcome<std::unique_ptr<UringDisk>> open_file(UringEnv& env, const std::string& path,
                                                         DiskOptions options);
    bool lies_where_it_may_hang() const;
    void expect_hanging();
    void prepare(InFlight& flight);
    void prepare_transfer(InFlight& flight, io_uring_sqe* sqe);
    void prepare_clear(InFlight& flight, io_uring_sqe* sqe);
    void advance(InFlight& flight, int32_t result);
    void finish(InFlight& flight, Status status);
    bool has_space() const;
    Result<bool> is_zero(uint64_t offset, uint64_t length);

    UringEnv& env_;
    int descriptor_;
    DiskTraits traits_;
    uint64_t size_;
    bool sync_failed_ = false;
    // On a file system that may hang only.
    std::unique_ptr<UringSpaceProbe> probe_;
    unsigned in_kernel_ = 0;
    std::deque<InFlight*> waiting_;
};

}  // namespace gemel
