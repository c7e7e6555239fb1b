// SPDX-License-Identifier: Apache-2.0
#include "blockdev/watched_disk.h"

#include <algorithm>

#include "blockdev/assert.h"

namespace gemel::blockdev {

namespace {

bool is_of_the_device(const Error& error) {
    return error.code == Errc::io || error.code == Errc::timed_out || error.code == Errc::closed ||
           error.code == Errc::not_found;
}

// Whether the same request, made again, might succeed.
bool may_pass(const IoRequest& request, unsigned attempts) {
    const Errc code = request.status.error().code;
    if (code != Errc::io && code != Errc::timed_out) return false;
    if (request.kind == IoKind::sync) return false;
    if (request.kind == IoKind::read) return attempts < WatchedDisk::kReadRetries;
    return attempts < WatchedDisk::kWriteRetries;
}

}  // namespace

WatchedDisk::WatchedDisk(Loop& loop, std::unique_ptr<Disk> disk)
    : loop_(loop), disk_(std::move(disk)) {}

WatchedDisk::Watch& WatchedDisk::take_watch() {
    if (idle_ == nullptr) return watches_.emplace_back();
    Watch& watch = *idle_;
    idle_ = watch.next;
    watch.next = nullptr;
    return watch;
}

void WatchedDisk::submit(IoRequest& request) {
    Watch& watch = take_watch();
    watch.disk = this;
    watch.request = &request;
    watch.owner = request.done;
    watch.submitted_ns = loop_.now_ns();
    watch.attempts = 0;
    request.done.context = &watch;
    request.done.run = [](void* context) {
        auto& ended = *static_cast<Watch*>(context);
        ended.disk->completed(ended);
    };
    Line& line = line_of(request);
    watch.previous = line.last;
    (line.last != nullptr ? line.last->next : line.first) = &watch;
    line.last = &watch;
    ++in_flight_;
    disk_->submit(request);
}

void WatchedDisk::completed(Watch& watch) {
    IoRequest& request = *watch.request;
    if (!request.status.ok() && is_of_the_device(request.status.error())) {
        count_error();
        if (may_pass(request, watch.attempts)) {
            uint64_t delay = kFirstRetry_ns;
            for (unsigned i = 0; i < watch.attempts; ++i) delay *= 10;
            ++watch.attempts;
            watch.retry.continuation.context = &watch;
            watch.retry.continuation.run = [](void* context) {
                auto& again = *static_cast<Watch*>(context);
                again.disk->disk_->submit(*again.request);
            };
            loop_.arm(watch.retry, loop_.now_ns() + delay);
            return;
        }
    }
    if (request.kind == IoKind::sync && !request.status.ok() && !flush_failed_) {
        flush_failed_ = true;
        if (on_flush_failure_) on_flush_failure_(request.status.error());
    }
    Line& line = line_of(request);
    (watch.previous != nullptr ? watch.previous->next : line.first) = watch.next;
    (watch.next != nullptr ? watch.next->previous : line.last) = watch.previous;
    watch.previous = nullptr;
    watch.next = idle_;
    idle_ = &watch;
    --in_flight_;
    ++completed_;
    last_completed_ns_ = loop_.now_ns();
    request.done = watch.owner;
    request.done.run(request.done.context);
}

double WatchedDisk::errors_at(uint64_t now_ns) const {
    const double forgotten =
        static_cast<double>(now_ns - errors_ns_) / static_cast<double>(kForgetError_ns);
    return std::max(0.0, errors_ - forgotten);
}

void WatchedDisk::count_error() {
    const uint64_t now = loop_.now_ns();
    errors_ = errors_at(now) + 1;
    errors_ns_ = now;
}

MemberProgress WatchedDisk::progress() const {
    MemberProgress progress;
    if (transfers_.first != nullptr) progress.oldest_request_ns = transfers_.first->submitted_ns;
    if (flushes_.first != nullptr) progress.oldest_flush_ns = flushes_.first->submitted_ns;
    progress.in_flight = in_flight_;
    progress.completed = completed_;
    progress.last_completed_ns = last_completed_ns_;
    progress.errors = errors_at(loop_.now_ns());
    return progress;
}

}  // namespace gemel::blockdev
