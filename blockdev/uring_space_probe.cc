// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uring_space_probe.h"

#include <pthread.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <mutex>

#include "blockdev/assert.h"

namespace gemel {

Result<uint64_t> free_space(int descriptor) {
    struct statvfs info{};
    if (fstatvfs(descriptor, &info) != 0) return error_from_errno(errno, "statvfs");
    // Some FUSE file systems do not say how large they are: that is not the same as being full.
    if (info.f_blocks == 0) return UINT64_MAX;
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

// What the probe and its thread have in common; it belongs to whichever of them lives longer. The
// descriptor is the thread's.
struct UringSpaceProbe::Shared {
    Shared(int file, Result<uint64_t> first, Question ask)
        : descriptor(file), question(ask), answer(first) {}

    const int descriptor;
    const Question question;
    std::mutex mutex;
    std::condition_variable changed;
    Result<uint64_t> answer;
    bool has_thread = false;
    bool asked = false;
    bool stopping = false;
};

UringSpaceProbe::UringSpaceProbe(int descriptor, Result<uint64_t> first, Question question)
    : shared_(std::make_shared<Shared>(descriptor, first, question)) {
    // Signals are for the reactor's thread; to this one, which does not block them, they would be
    // fatal.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
    pthread_t thread{};
    auto* argument = new std::shared_ptr<Shared>(shared_);
    if (pthread_create(&thread, nullptr, run, argument) == 0) {
        CHECK(pthread_detach(thread) == 0);
        shared_->has_thread = true;
    } else {
        delete argument;  // Too many threads: the first answer stays.
    }
    CHECK(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0);
}

UringSpaceProbe::~UringSpaceProbe() {
    if (!shared_->has_thread) close(shared_->descriptor);
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
    shared_->changed.notify_one();
}

Result<uint64_t> UringSpaceProbe::free_bytes() {
    const std::lock_guard lock(shared_->mutex);
    shared_->asked = true;
    shared_->changed.notify_one();
    return shared_->answer;
}

void* UringSpaceProbe::run(void* argument) {
    const std::unique_ptr<std::shared_ptr<Shared>> own(
        static_cast<std::shared_ptr<Shared>*>(argument));
    Shared& shared = **own;
    std::unique_lock lock(shared.mutex);
    while (true) {
        shared.changed.wait(lock, [&shared] { return shared.asked || shared.stopping; });
        if (shared.stopping) break;
        shared.asked = false;
        lock.unlock();
        const Result<uint64_t> answer = shared.question(shared.descriptor);
        lock.lock();
        shared.answer = answer;
    }
    lock.unlock();
    close(shared.descriptor);
    return nullptr;
}

}  // namespace gemel
