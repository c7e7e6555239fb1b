// SPDX-License-Identifier: Apache-2.0
//
// WatchedDisk: a decorator that knows what its disk is doing. It remembers when each request was
// submitted, so that somebody else can see that one makes no progress; it repeats what a passing
// error may have spoilt; and it counts errors in a bucket that leaks, so that old ones are
// forgiven.
//
// Repeating a write is safe: its bytes stay as they are until it ends. A flush is never repeated:
// what a failed one dropped is lost, and a second one would succeed without it.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "blockdev/disk.h"
#include "blockdev/loop.h"

namespace gemel::blockdev {

// What a member is doing, for whoever watches over it.
struct MemberProgress {
    uint64_t oldest_request_ns = UINT64_MAX;  // When the oldest of the requests in flight was
    uint64_t oldest_flush_ns = UINT64_MAX;    // submitted, data and flushes; UINT64_MAX: none is.
    uint64_t in_flight = 0;
    uint64_t completed = 0;  // Requests that ever came to their end.
    uint64_t last_completed_ns = 0;
    double errors = 0;  // Of the device, lately: one is forgotten every kForgetError_ns.
};

class WatchedDisk final : public Disk {
public:
    WatchedDisk(Loop& loop, std::unique_ptr<Disk> disk);

    void submit(IoRequest& request) override;
    const DiskTraits& traits() const override { return disk_->traits(); }
    uint64_t size() const override { return disk_->size(); }
    Result<uint64_t> free_bytes() const override { return disk_->free_bytes(); }
    Result<bool> is_blank() override { return disk_->is_blank(); }
    Status resize(uint64_t size) override { return disk_->resize(size); }
    Status try_lock() override { return disk_->try_lock(); }

    MemberProgress progress() const;
    // Called when a flush has failed, whoever asked for it. Once.
    void set_on_flush_failure(std::function<void(Error)> call) {
        on_flush_failure_ = std::move(call);
    }

    static constexpr unsigned kWriteRetries = 2;
    static constexpr unsigned kReadRetries = 1;
    static constexpr uint64_t kFirstRetry_ns = 2 * kMillisecond;  // Each next one ten times later.
    static constexpr uint64_t kForgetError_ns = 180 * kSecond;

private:
    struct Watch {
        WatchedDisk* disk = nullptr;
        IoRequest* request = nullptr;
        Continuation owner;  // Whom the request belongs to.
        uint64_t submitted_ns = 0;
        unsigned attempts = 0;
        Timer retry;
        Watch* previous = nullptr;
        Watch* next = nullptr;
    };
    // In order of submission.
    struct Line {
        Watch* first = nullptr;
        Watch* last = nullptr;
    };
    Line& line_of(const IoRequest& request) {
        return request.kind == IoKind::sync ? flushes_ : transfers_;
    }
    Watch& take_watch();
    void completed(Watch& watch);
    void count_error();
    double errors_at(uint64_t now_ns) const;

    Loop& loop_;
    std::unique_ptr<Disk> disk_;
    std::deque<Watch> watches_;  // All there are; they are recycled.
    Watch* idle_ = nullptr;
    Line transfers_;
    Line flushes_;
    uint64_t in_flight_ = 0;
    uint64_t completed_ = 0;
    uint64_t last_completed_ns_ = 0;
    double errors_ = 0;  // At errors_ns_.
    uint64_t errors_ns_ = 0;
    bool flush_failed_ = false;
    std::function<void(Error)> on_flush_failure_;
};

}  // namespace gemel::blockdev
