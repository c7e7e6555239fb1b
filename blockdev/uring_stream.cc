// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_stream.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "blockdev/uring_socket.h"

namespace gemel {

namespace {

constexpr size_t kSegmentsMax = 1024;  // The kernel's limit for one call (IOV_MAX).

// Segments are handed to the kernel as they are.
static_assert(sizeof(IoSegment) == sizeof(iovec));
static_assert(offsetof(IoSegment, data) == offsetof(iovec, iov_base));
static_assert(offsetof(IoSegment, length) == offsetof(iovec, iov_len));

class UringStream final : public Stream {
public:
    UringStream(UringEnv& env, int descriptor, std::string peer)
        : env_(env), descriptor_(descriptor), peer_(std::move(peer)) {
        receiving_.complete = on_received;
        receiving_.stream = this;
        sending_.complete = on_sent;
        sending_.stream = this;
    }
    ~UringStream() override {
        CHECK(receiving_.request == nullptr);
        CHECK(sending_.request == nullptr);
        close(descriptor_);
    }

    void submit(StreamRequest& request) override {
        CHECK(request.length != 0);
        Operation& operation = request.sending ? sending_ : receiving_;
        CHECK(operation.request == nullptr);
        operation.request = &request;
        request.transferred = 0;
        request.sending ? send_now() : prepare_receive();
    }

    void shutdown() override { ::shutdown(descriptor_, SHUT_RDWR); }

    bool peer_closed() const override {
        pollfd state{descriptor_, POLLRDHUP, 0};
        return poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
    }

    const std::string& peer() const override { return peer_; }

private:
    struct Operation : UringCompletion {
        UringStream* stream = nullptr;
        StreamRequest* request = nullptr;
    };

    static iovec* as_iovec(const IoSegment* segments) {
        return reinterpret_cast<iovec*>(const_cast<IoSegment*>(segments));
    }

    void prepare_receive() {
        const IoSegment& segment = *receiving_.request->segments;
        io_uring_sqe* sqe = env_.get_sqe(receiving_);
        io_uring_prep_recv(sqe, descriptor_, segment.data, segment.length, 0);
        // The last receive emptied the socket: trying before waiting would be in vain.
        if (drained_) sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    }

    // Nearly always the socket has room, and a plain call that does not wait is done with it. Sent
    // through the ring, its completion would end the turn's wait at once: an idle turn, and a
    // second system call, for each send.
    void send_now() {
        StreamRequest& request = *sending_.request;
        message_ = {};
        message_.msg_iov = as_iovec(request.segments);
        message_.msg_iovlen = std::min<size_t>(request.segment_count, kSegmentsMax);
        const ssize_t sent = sendmsg(descriptor_, &message_, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
            return finish(sending_, error_from_errno(errno, "send"));
        }
        if (sent > 0) request.transferred = static_cast<size_t>(sent);
        if (request.transferred == request.length) return finish(sending_, Status());
        if (sent > 0) keep_rest();
        prepare_send();
    }

    void prepare_send() {
        const StreamRequest& request = *sending_.request;
        const bool is_rest = request.transferred != 0;
        const IoSegment* segments = is_rest ? rest_.data() : request.segments;
        const size_t count = is_rest ? rest_.size() : request.segment_count;
        // With MSG_WAITALL newer kernels continue a partial send on their own.
        const int flags = MSG_NOSIGNAL | MSG_WAITALL;
        io_uring_sqe* sqe = env_.get_sqe(sending_);
        if (count == 1) {
            io_uring_prep_send(sqe, descriptor_, segments->data, segments->length, flags);
            return;
        }
        message_ = {};
        message_.msg_iov = as_iovec(segments);
        message_.msg_iovlen = std::min(count, kSegmentsMax);
        io_uring_prep_sendmsg(sqe, descriptor_, &message_, static_cast<unsigned>(flags));
    }

    static void on_received(UringCompletion& completion, int32_t result, uint32_t) {
        auto& operation = static_cast<Operation&>(completion);
        UringStream& self = *operation.stream;
        StreamRequest& request = *operation.request;
        if (result == -EINTR || result == -EAGAIN) {
            self.drained_ = true;
            return self.prepare_receive();
        }
        if (result >= 0) {
            request.transferred = static_cast<size_t>(result);
            self.drained_ = request.transferred < request.length;
        }
        self.finish(operation, result < 0 ? error_from_errno(-result, "receive") : Status());
    }

    static void on_sent(UringCompletion& completion, int32_t result, uint32_t) {
        auto& operation = static_cast<Operation&>(completion);
        UringStream& self = *operation.stream;
        StreamRequest& request = *operation.request;
        if (result == -EINTR || result == -EAGAIN) return self.prepare_send();
        if (result < 0) return self.finish(operation, error_from_errno(-result, "send"));
        request.transferred += static_cast<size_t>(result);
        if (request.transferred == request.length) return self.finish(operation, Status());
        self.keep_rest();
        self.prepare_send();
    }

    // What of the request is still to be sent, from `transferred` on.
    void keep_rest() {
        const StreamRequest& request = *sending_.request;
        size_t skip = request.transferred;
        rest_.clear();
        for (uint32_t i = 0; i < request.segment_count; ++i) {
            const IoSegment& segment = request.segments[i];
            if (skip >= segment.length) {
                skip -= segment.length;
                continue;
            }
            rest_.push_back({segment.data + skip, segment.length - skip});
            skip = 0;
        }
    }

    void finish(Operation& operation, Status status) {
        StreamRequest& request = *operation.request;
        operation.request = nullptr;
        request.status = std::move(status);
        env_.post(request.done);
    }

    UringEnv& env_;
    int descriptor_;
    std::string peer_;
    bool drained_ = true;
    Operation receiving_;
    Operation sending_;
    msghdr message_{};
    std::vector<IoSegment> rest_;
};

// Ends a connection attempt that takes too long. The timer may have been posted, but not have run,
// when the attempt ends: its memory is given up only after that.
struct ConnectWatch {
    Timer timer;
    int descriptor = -1;
    bool fired = false;

    static void on_limit(void* context) {
        auto& self = *static_cast<ConnectWatch*>(context);
        self.fired = true;
        ::shutdown(self.descriptor, SHUT_RDWR);
    }
};

Task<Status> connect_socket(UringEnv& env, int descriptor, const SocketAddress& target) {
    ConnectWatch watch;
    watch.descriptor = descriptor;
    watch.timer.continuation.context = &watch;
    watch.timer.continuation.run = ConnectWatch::on_limit;
    env.arm(watch.timer, env.now_ns() + kConnectLimitNs);
    UringAwait wait(env);
    io_uring_prep_connect(env.get_sqe(wait), descriptor, target.get(), target.length);
    const int32_t result = co_await wait;
    const bool in_time = watch.timer.armed();
    env.disarm(watch.timer);
    while (!in_time && !watch.fired) co_await yield(env);
    if (watch.fired) co_return Error{Errc::timed_out, ETIMEDOUT, "connect"};
    if (result < 0) co_return error_from_errno(-result, "connect");
    co_return Status::success();
}

}  // namespace

std::unique_ptr<Stream> stream_from_socket(UringEnv& env, int descriptor, std::string peer) {
    return std::make_unique<UringStream>(env, descriptor, std::move(peer));
}

Task<Result<std::unique_ptr<Stream>>> connect_uring(UringEnv& env, Address address) {
    auto targets = resolve(address, false);
    if (!targets.ok()) co_return Error{targets.error().code, 0, "connect: no such address"};
    Error error{Errc::not_found, 0, "connect: no such address"};
    for (const SocketAddress& target : targets.value()) {
        const int descriptor = socket(target.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0) co_return error_from_errno(errno, "socket");
        tune_socket(descriptor, target.family());
        const Status status = co_await connect_socket(env, descriptor, target);
        if (status.ok()) co_return stream_from_socket(env, descriptor, address.text());
        close(descriptor);
        error = status.error();
    }
    co_return error;
}

}  // namespace gemel
