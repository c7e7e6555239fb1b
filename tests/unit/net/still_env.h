// SPDX-License-Identifier: Apache-2.0
//
// An Env whose time stands still until everything waits, so that tests of deadlines take no time
// and depend on none; and a stream that brings given bytes and swallows what is sent.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "blockdev/env.h"

namespace gemel {

class StillEnv final : public Env {
public:
    // Runs `task` to its end, moving the clock whenever nothing else is left to do.
    void run(Task<void> task) {
        Scope scope(*this);
        scope.start(std::move(task));
        run_ready();
        while (scope.running() != 0) {
            CHECK(next_deadline_ns() != UINT64_MAX);
            now_ns_ = std::max(now_ns_, next_deadline_ns());
            expire_timers(now_ns_);
            run_ready();
        }
    }

    uint64_t now_ns() const override { return now_ns_; }
    uint64_t wall_clock_s() const override { return 0; }
    uint64_t random_u64() override { return 4; }
    void log(LogLevel, std::string_view) override {}
    ProcessId this_process() const override { return {}; }
    bool is_alive(const ProcessId&) const override { return true; }
    Outcome<std::unique_ptr<Disk>> open_disk(const std::string&, DiskOptions) override {
        return Problem{};
    }
    Status remove_file(const std::string&) override { return Error{}; }
    Result<std::vector<std::byte>> read_file(const std::string&, size_t) override {
        return Error{};
    }
    Status replace_file(const std::string&, std::span<const std::byte>) override { return Error{}; }
    Outcome<std::unique_ptr<Listener>> listen(const Address&) override { return Problem{}; }
    Task<Result<std::unique_ptr<Stream>>> connect(Address) override { co_return Error{}; }

private:
    uint64_t now_ns_ = 1;
};

class FeedStream final : public Stream {
public:
    enum class AtEnd { closes, falls_silent };

    // Hands out at most `step` bytes at a time; fails every send after `sends`.
    FeedStream(Loop& loop, std::span<const std::byte> input, size_t step, size_t sends,
               AtEnd at_end = AtEnd::closes)
        : loop_(loop), input_(input), step_(step), sends_(sends), at_end_(at_end) {}

    // All sends but the first `sends` stay in flight, as with a peer that reads no more, until
    // shutdown().
    void stop_reading_after(size_t sends) { reads_ = sends; }
    void close_peer() { peer_closed_ = true; }
    size_t sent_bytes() const { return sent_bytes_; }

    void submit(StreamRequest& request) override {
        request.transferred = 0;
        request.status = Status();
        if (request.sending) {
            if (!down_ && sends_ != 0 && reads_ == 0) {
                stuck_send_ = &request;
                return;
            }
            if (reads_ != 0) --reads_;
            if (down_ || sends_ == 0) request.status = Error{Errc::closed};
            if (request.status.ok()) sent_bytes_ += request.length;
            if (sends_ != 0) --sends_;
        } else if (!down_) {
            const size_t count = std::min({input_.size(), step_, request.length});
            if (count == 0 && at_end_ == AtEnd::falls_silent) {
                stuck_receive_ = &request;
                return;
            }
            if (count != 0) std::memcpy(request.segments->data, input_.data(), count);
            input_ = input_.subspan(count);
            request.transferred = count;
        }
        loop_.post(request.done);
    }
    void shutdown() override {
        down_ = true;
        for (StreamRequest** stuck : {&stuck_send_, &stuck_receive_}) {
            if (*stuck == nullptr) continue;
            if ((*stuck)->sending) (*stuck)->status = Error{Errc::closed};
            loop_.post((*stuck)->done);
            *stuck = nullptr;
        }
    }
    bool peer_closed() const override { return peer_closed_ || down_; }
    const std::string& peer() const override { return peer_; }

private:
    Loop& loop_;
    std::span<const std::byte> input_;
    size_t step_;
    size_t sends_;
    AtEnd at_end_;
    size_t reads_ = SIZE_MAX;
    bool peer_closed_ = false;
    bool down_ = false;
    size_t sent_bytes_ = 0;
    StreamRequest* stuck_send_ = nullptr;
    StreamRequest* stuck_receive_ = nullptr;
    std::string peer_ = "fuzzer";
};

}  // namespace gemel
