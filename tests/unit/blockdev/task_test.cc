// SPDX-License-Identifier: Apache-2.0
#include "blockdev/task.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "blockdev/result.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel {
namespace {

// Counts how many of it live: frames must destroy what they hold exactly once.
struct Counted {
    int* live;
    explicit Counted(int& counter) : live(&counter) { ++*live; }
    Counted(const Counted& other) : live(other.live) { ++*live; }
    Counted& operator=(const Counted&) = default;
    ~Counted() { --*live; }
};

Task<int> immediate(int value) { co_return value; }

Task<int> after_yields(Loop& loop, int yields, int value) {
    for (int i = 0; i < yields; ++i) co_await yield(loop);
    co_return value;
}

Task<void> store(Task<int> task, int& out) { out = co_await std::move(task); }

TEST(Task, IsLazy) {
    int out = 0;
    { const Task<void> never_started = store(immediate(1), out); }
    EXPECT_EQ(out, 0);
}

TEST(Task, OneThatNeverSuspendsFinishesInsideStart) {
    ManualLoop loop;
    Scope scope(loop);
    int out = 0;
    scope.start(store(immediate(5), out));
    EXPECT_EQ(out, 5);
    EXPECT_EQ(scope.running(), 0u);
}

TEST(Task, ResumesItsCallerWhenItFinishesLater) {
    ManualLoop loop;
    Scope scope(loop);
    int out = 0;
    scope.start(store(after_yields(loop, 3, 7), out));
    EXPECT_EQ(out, 0);
    EXPECT_EQ(scope.running(), 1u);
    loop.run();
    EXPECT_EQ(out, 7);
    EXPECT_EQ(scope.running(), 0u);
}

Task<Result<std::string>> fail_or_succeed(Loop& loop, bool fail) {
    co_await yield(loop);
    if (fail) co_return Error{Errc::io, 0, "on purpose"};
    co_return std::string("fine");
}

Task<void> collect(Loop& loop, std::vector<std::string>& out) {
    for (bool fail : {false, true}) {
        const Result<std::string> result = co_await fail_or_succeed(loop, fail);
        out.push_back(result.ok() ? result.value() : result.error().where);
    }
}

TEST(Task, AnAwaitYieldsTheResult) {
    ManualLoop loop;
    Scope scope(loop);
    std::vector<std::string> out;
    scope.start(collect(loop, out));
    loop.run();
    EXPECT_EQ(out, (std::vector<std::string>{"fine", "on purpose"}));
}

Task<std::unique_ptr<int>> make_pointer(int value) { co_return std::make_unique<int>(value); }
Task<void> take_pointer(int& out) {
    std::unique_ptr<int> pointer = co_await make_pointer(3);
    out = *pointer;
}

TEST(Task, MovesAResultThatCannotBeCopied) {
    ManualLoop loop;
    Scope scope(loop);
    int out = 0;
    scope.start(take_pointer(out));
    EXPECT_EQ(out, 3);
}

// Without symmetric transfer a caller's loop must still not grow the stack.
Task<void> await_many(int count, int64_t& sum) {
    for (int i = 0; i < count; ++i) sum += co_await immediate(1);
}
Task<void> await_many_suspending(Loop& loop, int count, int64_t& sum) {
    for (int i = 0; i < count; ++i) sum += co_await after_yields(loop, 1, 1);
}

TEST(Task, AMillionAwaitsThatDoNotSuspendUseNoStack) {
    ManualLoop loop;
    Scope scope(loop);
    int64_t sum = 0;
    scope.start(await_many(1'000'000, sum));
    EXPECT_EQ(sum, 1'000'000);
}

TEST(Task, AMillionAwaitsThatSuspendUseNoStack) {
    ManualLoop loop;
    Scope scope(loop);
    int64_t sum = 0;
    scope.start(await_many_suspending(loop, 1'000'000, sum));
    loop.run();
    EXPECT_EQ(sum, 1'000'000);
}

Task<int> nested(Loop& loop, int depth) {
    if (depth == 0) {
        co_await yield(loop);
        co_return 0;
    }
    const int below = co_await nested(loop, depth - 1);
    co_return below + 1;
}

TEST(Task, ADeepChainFinishesFromTheInnermost) {
    ManualLoop loop;
    Scope scope(loop);
    int out = 0;
    scope.start(store(nested(loop, 500), out));
    loop.run();
    EXPECT_EQ(out, 500);
}

Task<void> hold(Loop& loop, Counted counted, int yields) {
    const Counted local = counted;
    for (int i = 0; i < yields; ++i) co_await yield(loop);
    CHECK(local.live == counted.live);
}
Task<void> hold_twice(Loop& loop, Counted counted) {
    co_await hold(loop, counted, 0);
    co_await hold(loop, counted, 2);
}

TEST(Task, FramesDestroyWhatTheyHoldExactlyOnce) {
    int live = 0;
    {
        ManualLoop loop;
        Scope scope(loop);
        scope.start(hold(loop, Counted(live), 0));
        EXPECT_EQ(live, 0);
        scope.start(hold(loop, Counted(live), 1));
        scope.start(hold_twice(loop, Counted(live)));
        EXPECT_GT(live, 0);
        loop.run();
        EXPECT_EQ(live, 0);
    }
}

TEST(Task, OneThatIsNeverStartedDestroysItsParameters) {
    ManualLoop loop;
    int live = 0;
    {
        const Task<void> task = hold(loop, Counted(live), 1);
        EXPECT_EQ(live, 1);
    }
    EXPECT_EQ(live, 0);
}

Task<void> join_then_set(Scope& scope, bool& joined) {
    co_await scope.join();
    joined = true;
}

TEST(Scope, JoinWaitsForEverythingStarted) {
    ManualLoop loop;
    Scope work(loop);
    Scope outer(loop);
    bool joined = false;
    int first = 0;
    int second = 0;
    work.start(store(after_yields(loop, 2, 1), first));
    work.start(store(after_yields(loop, 5, 2), second));
    outer.start(join_then_set(work, joined));
    EXPECT_FALSE(joined);
    loop.run();
    EXPECT_TRUE(joined);
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 2);
}

TEST(Scope, JoinOfAnIdleScopeReturnsAtOnce) {
    ManualLoop loop;
    Scope work(loop);
    Scope outer(loop);
    bool joined = false;
    outer.start(join_then_set(work, joined));
    EXPECT_TRUE(joined);
}

TEST(ScopeDeathTest, DestroyingARunningScopeStopsTheProcess) {
    ManualLoop loop;
    int out = 0;
    EXPECT_DEATH(
        {
            Scope scope(loop);
            scope.start(store(after_yields(loop, 1, 1), out));
        },
        "running_");
}

}  // namespace
}  // namespace gemel
