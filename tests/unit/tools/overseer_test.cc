// SPDX-License-Identifier: Apache-2.0
//
// Two processes and how each of them ends. Nothing here measures time.
#include "tools/gemel/overseer.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tools/gemel/arguments.h"

namespace gemel::tools {
namespace {

constexpr int kPatience_ms = 60'000;

struct Pipe {
    Pipe() { EXPECT_EQ(pipe(ends), 0); }
    ~Pipe() {
        close(ends[0]);
        close_writing();
    }
    void close_writing() {
        if (ends[1] >= 0) close(ends[1]);
        ends[1] = -1;
    }
    // False: nobody can write to it any more.
    bool receives_a_byte() const {
        pollfd end{ends[0], POLLIN, 0};
        char byte = 0;
        EXPECT_EQ(poll(&end, 1, kPatience_ms), 1);
        return read(ends[0], &byte, 1) == 1;
    }
    void send_a_byte() const { EXPECT_EQ(write(ends[1], "x", 1), 1); }

    int ends[2] = {-1, -1};
};

void block(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_BLOCK, &set, nullptr);
}

int wait_for(int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    int arrived = 0;
    sigwait(&set, &arrived);
    return arrived;
}

TEST(Overseer, ReturnsWhatTheWorkReturned) {
    const pid_t self = getpid();
    EXPECT_EQ(run_overseen([] { return 0; }), 0);
    EXPECT_EQ(run_overseen([self] { return getpid() == self ? 3 : 5; }), 5);
}

TEST(Overseer, ThrowsWhatTheWorkFailedWith) {
    try {
        run_overseen([]() -> int { throw Failure("the disk is on fire"); });
        FAIL() << "nothing was thrown";
    } catch (const Failure& failure) { EXPECT_STREQ(failure.what(), "the disk is on fire"); }
    EXPECT_THROW(run_overseen([]() -> int { throw Failure(std::string(100'000, 'x')); }), Failure);
}

TEST(Overseer, LeavesTheSignalsAsTheyWere) {
    sigset_t before;
    sigset_t after;
    ASSERT_EQ(sigprocmask(SIG_BLOCK, nullptr, &before), 0);
    EXPECT_EQ(run_overseen([] { return 0; }), 0);
    ASSERT_EQ(sigprocmask(SIG_BLOCK, nullptr, &after), 0);
    for (const int number : {SIGTERM, SIGINT, SIGCHLD}) {
        EXPECT_EQ(sigismember(&before, number), sigismember(&after, number));
    }
}

TEST(OverseerDeathTest, EndsAsTheWorkEnded) {
    EXPECT_EXIT(std::exit(run_overseen([]() -> int { std::_Exit(9); })), testing::ExitedWithCode(9),
                "");
    EXPECT_EXIT(std::exit(run_overseen([] { return raise(SIGKILL); })),
                testing::KilledBySignal(SIGKILL), "");
    EXPECT_EXIT(std::exit(run_overseen([] { return raise(SIGALRM); })),
                testing::KilledBySignal(SIGALRM), "");
}

TEST(OverseerDeathTest, PassesASignalOn) {
    const auto work = [] {
        block(SIGTERM);
        kill(getppid(), SIGTERM);
        return wait_for(SIGTERM) == SIGTERM ? 7 : 1;
    };
    EXPECT_EXIT(std::exit(run_overseen(work)), testing::ExitedWithCode(7), "");
}

TEST(OverseerDeathTest, KillsWithTheSecondSignal) {
    const auto work = [] {
        block(SIGTERM);
        kill(getppid(), SIGTERM);
        wait_for(SIGTERM);
        kill(getppid(), SIGTERM);
        while (true) pause();
        return 0;
    };
    EXPECT_EXIT(std::exit(run_overseen(work)), testing::KilledBySignal(SIGTERM), "");
}

TEST(Overseer, TakesTheWorkAlongWhenItIsKilled) {
    Pipe alive;
    const pid_t overseer = fork();
    if (overseer == 0) {
        std::_Exit(run_overseen([&alive] {
            alive.send_a_byte();
            while (true) pause();
            return 0;
        }));
    }
    alive.close_writing();
    ASSERT_TRUE(alive.receives_a_byte());
    ASSERT_EQ(kill(overseer, SIGKILL), 0);
    EXPECT_EQ(waitpid(overseer, nullptr, 0), overseer);
    EXPECT_FALSE(alive.receives_a_byte()) << "the work goes on alone";
}

// Keeps its parent, which is tracee, from ending: until nobody can write to `until` any more.
[[noreturn]] void hold(pid_t tracee, const Pipe& ready, const Pipe& until) {
    const bool holds = ptrace(PTRACE_SEIZE, tracee, nullptr, PTRACE_O_TRACEEXIT) == 0;
    if (!holds) std::_Exit(1);
    ready.send_a_byte();
    waitpid(tracee, nullptr, __WALL);
    static_cast<void>(until.receives_a_byte());
    std::_Exit(0);
}

// As a kernel does that waits for a device. Nothing but a test can be had of that here.
TEST(Overseer, LeavesTheWorkThatIsDoneAndDoesNotEnd) {
    Pipe until;
    constexpr int kCannotTrace = 77;
    const auto work = [&] {
        Pipe ready;
        const pid_t self = getpid();
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
        until.close_writing();
        const pid_t holder = fork();
        if (holder == 0) hold(self, ready, until);
        ready.close_writing();
        return ready.receives_a_byte() ? 4 : kCannotTrace;
    };
    testing::internal::CaptureStderr();
    const int code = run_overseen(work);
    const std::string said = testing::internal::GetCapturedStderr();
    if (code == kCannotTrace) GTEST_SKIP() << "ptrace is not permitted here";
    EXPECT_EQ(code, 4);
    EXPECT_NE(said.find("hangs in the kernel"), std::string::npos) << said;
}

}  // namespace
}  // namespace gemel::tools
