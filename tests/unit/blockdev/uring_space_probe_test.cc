// SPDX-License-Identifier: Apache-2.0
//
// Nothing here measures time: deadlines only keep a broken test from hanging.
#include "blockdev/uring_space_probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace gemel {
namespace {

constexpr int kPatience_ms = 60'000;

// A file system that hangs when it is told to. There is one: a Question has no context.
struct {
    std::mutex mutex;
    std::condition_variable changed;
    bool hangs = false;
    bool is_asked = false;
    Result<uint64_t> answer = uint64_t{0};
} file_system;

Result<uint64_t> ask(int) {
    std::unique_lock lock(file_system.mutex);
    file_system.is_asked = true;
    file_system.changed.notify_all();
    file_system.changed.wait(lock, [] { return !file_system.hangs; });
    return file_system.answer;
}

void let_it(bool hang, Result<uint64_t> answer) {
    const std::lock_guard lock(file_system.mutex);
    file_system.hangs = hang;
    file_system.is_asked = false;
    file_system.answer = answer;
    file_system.changed.notify_all();
}

void wait_until_it_is_asked() {
    std::unique_lock lock(file_system.mutex);
    file_system.changed.wait(lock, [] { return file_system.is_asked; });
}

// A descriptor of which one sees when its last copy is closed.
struct Pipe {
    Pipe() { EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0); }
    ~Pipe() { close(ends[0]); }
    bool is_closed(int patience_ms) const {
        pollfd end{ends[0], POLLIN, 0};
        return poll(&end, 1, patience_ms) == 1 && (end.revents & POLLHUP) != 0;
    }
    int ends[2] = {-1, -1};
};

bool comes_true(const std::function<bool()>& condition) {
    for (int waited = 0; waited < kPatience_ms; ++waited) {
        if (condition()) return true;
        poll(nullptr, 0, 1);
    }
    return false;
}

TEST(UringSpaceProbe, HasTheFirstAnswerUntilThereIsANewerOne) {
    const Pipe pipe;
    let_it(true, uint64_t{5});
    UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask);
    EXPECT_EQ(probe.free_bytes().value(), 7u);
    wait_until_it_is_asked();
    EXPECT_EQ(probe.free_bytes().value(), 7u) << "it hangs, and nobody waits for it";
    let_it(false, uint64_t{5});
    EXPECT_TRUE(comes_true([&probe] { return probe.free_bytes().value() == 5; }));
}

TEST(UringSpaceProbe, AsksOnlyWhenItIsAsked) {
    const Pipe pipe;
    let_it(false, uint64_t{5});
    UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask);
    poll(nullptr, 0, 20);
    {
        const std::lock_guard lock(file_system.mutex);
        EXPECT_FALSE(file_system.is_asked);
    }
    static_cast<void>(probe.free_bytes());
    wait_until_it_is_asked();
}

TEST(UringSpaceProbe, PassesAnErrorOn) {
    const Pipe pipe;
    let_it(false, error_from_errno(EIO, "statvfs"));
    UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask);
    EXPECT_TRUE(comes_true([&probe] { return !probe.free_bytes().ok(); }));
    let_it(false, uint64_t{5});
    EXPECT_TRUE(comes_true([&probe] { return probe.free_bytes().ok(); }));
}

TEST(UringSpaceProbe, EndsAtOnceAlsoWhileTheFileSystemHangs) {
    const Pipe pipe;
    let_it(true, uint64_t{5});
    {
        UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask);
        static_cast<void>(probe.free_bytes());
        wait_until_it_is_asked();
    }
    EXPECT_FALSE(pipe.is_closed(20)) << "it is still being used";
    let_it(false, uint64_t{5});
    EXPECT_TRUE(pipe.is_closed(kPatience_ms));
}

TEST(UringSpaceProbe, ClosesWhatItWasGiven) {
    const Pipe pipe;
    { const UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask); }
    EXPECT_TRUE(pipe.is_closed(kPatience_ms));
}

TEST(UringSpaceProbe, LeavesSignalsToOthers) {
    // Blocked here and, if it was not for that, deadly there.
    sigset_t signals;
    sigset_t before;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    const Pipe pipe;
    let_it(false, uint64_t{5});
    UringSpaceProbe probe(pipe.ends[1], uint64_t{7}, ask);
    ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &signals, &before), 0);
    ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
    EXPECT_TRUE(comes_true([&probe] { return probe.free_bytes().value() == 5; }));
    int number = 0;
    ASSERT_EQ(sigwait(&signals, &number), 0);
    EXPECT_EQ(number, SIGUSR1);
    ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

TEST(FreeSpace, IsWhatTheFileSystemSays) {
    const int descriptor = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) GTEST_SKIP() << "no /dev/shm";
    const Result<uint64_t> free = free_space(descriptor);
    close(descriptor);
    ASSERT_TRUE(free.ok());
    EXPECT_GT(free.value(), 0u);
    EXPECT_EQ(free_space(-1).error().os_errno, EBADF);
}

TEST(FreeSpace, IsPlentyWhereNobodySays) {
    const int descriptor = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT_GE(descriptor, 0);
    EXPECT_EQ(free_space(descriptor).value(), UINT64_MAX);
    close(descriptor);
}

}  // namespace
}  // namespace gemel
