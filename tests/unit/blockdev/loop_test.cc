// SPDX-License-Identifier: Apache-2.0
#include "blockdev/loop.h"

#include <vector>

#include <gtest/gtest.h>

#include "blockdev/task.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel {
namespace {

// A continuation that notes its number when it runs, and may post another one.
struct Note {
    std::vector<int>* notes = nullptr;
    int number = 0;
    Loop* loop = nullptr;
    Continuation* then = nullptr;
    Continuation continuation;

    Note(std::vector<int>& list, int n) : notes(&list), number(n) {
        continuation.context = this;
        continuation.run = [](void* self) { static_cast<Note*>(self)->run(); };
    }
    Note(const Note&) = delete;
    Note& operator=(const Note&) = delete;

    void run() {
        notes->push_back(number);
        if (then != nullptr) loop->post(*then);
    }
};

TEST(Loop, RunsPostsInOrder) {
    ManualLoop loop;
    std::vector<int> notes;
    Note one(notes, 1), two(notes, 2), three(notes, 3);
    for (Note* note : {&one, &two, &three}) loop.post(note->continuation);
    EXPECT_TRUE(notes.empty()) << "a post must not run anything by itself";
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 2, 3}));
}

TEST(Loop, APostFromAContinuationRunsBehindWhatIsReady) {
    ManualLoop loop;
    std::vector<int> notes;
    Note one(notes, 1), two(notes, 2), late(notes, 3);
    one.loop = &loop;
    one.then = &late.continuation;
    loop.post(one.continuation);
    loop.post(two.continuation);
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 2, 3}));
}

TEST(Loop, AContinuationMayBePostedAgainOnceItRan) {
    ManualLoop loop;
    std::vector<int> notes;
    Note one(notes, 1);
    loop.post(one.continuation);
    loop.run();
    loop.post(one.continuation);
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 1}));
}

TEST(Loop, HooksRunWhenNothingElseIsReady) {
    ManualLoop loop;
    std::vector<int> notes;
    Note hook(notes, 9), one(notes, 1), late(notes, 2);
    one.loop = &loop;
    one.then = &late.continuation;
    loop.at_turn_end(hook.continuation);
    loop.post(one.continuation);
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 2, 9}));
}

TEST(Loop, WhatAHookPostsRunsBeforeTheNextHook) {
    ManualLoop loop;
    std::vector<int> notes;
    Note first(notes, 1), second(notes, 2), posted(notes, 3);
    first.loop = &loop;
    first.then = &posted.continuation;
    loop.at_turn_end(first.continuation);
    loop.at_turn_end(second.continuation);
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 3, 2}));
}

TEST(Timer, FiresAtItsDeadlineAndNotBefore) {
    ManualLoop loop;
    std::vector<int> notes;
    Note note(notes, 1);
    Timer timer;
    timer.continuation = note.continuation;
    loop.arm(timer, 5'000);
    loop.run_until(4'999);
    EXPECT_TRUE(notes.empty());
    EXPECT_TRUE(timer.armed());
    loop.run_until(5'000);
    EXPECT_EQ(notes, std::vector<int>{1});
    EXPECT_FALSE(timer.armed());
}

TEST(Timer, EqualDeadlinesFireInTheOrderOfArming) {
    ManualLoop loop;
    std::vector<int> notes;
    Note one(notes, 1), two(notes, 2), early(notes, 0);
    Timer timers[3];
    timers[0].continuation = one.continuation;
    timers[1].continuation = two.continuation;
    timers[2].continuation = early.continuation;
    loop.arm(timers[0], 5'000);
    loop.arm(timers[1], 5'000);
    loop.arm(timers[2], 4'000);
    loop.run_until(10'000);
    EXPECT_EQ(notes, (std::vector<int>{0, 1, 2}));
}

TEST(Timer, ADisarmedOneDoesNotFire) {
    ManualLoop loop;
    std::vector<int> notes;
    Note note(notes, 1);
    Timer timer;
    timer.continuation = note.continuation;
    loop.arm(timer, 5'000);
    loop.disarm(timer);
    loop.disarm(timer);
    loop.run_until(10'000);
    EXPECT_TRUE(notes.empty());
    EXPECT_TRUE(loop.idle());
}

TEST(TimerDeathTest, ArmingTwiceStopsTheProcess) {
    ManualLoop loop;
    Timer timer;
    loop.arm(timer, 5'000);
    EXPECT_DEATH(loop.arm(timer, 6'000), "armed_");
    loop.disarm(timer);
}

Task<void> note_after(Loop& loop, uint64_t duration_ns, std::vector<uint64_t>& out) {
    co_await sleep_for(loop, duration_ns);
    out.push_back(loop.now_ns());
}

TEST(Sleep, EndsAtTheMomentAsked) {
    ManualLoop loop;
    Scope scope(loop);
    std::vector<uint64_t> ends;
    scope.start(note_after(loop, 300, ends));
    scope.start(note_after(loop, 100, ends));
    loop.run_until(10'000);
    EXPECT_EQ(ends, (std::vector<uint64_t>{1'100, 1'300}));
}

Task<void> count_with_yields(Loop& loop, int number, std::vector<int>& out) {
    for (int i = 0; i < 3; ++i) {
        out.push_back(number);
        co_await yield(loop);
    }
}

TEST(Yield, LetsOthersRunFirst) {
    ManualLoop loop;
    Scope scope(loop);
    std::vector<int> notes;
    scope.start(count_with_yields(loop, 1, notes));
    scope.start(count_with_yields(loop, 2, notes));
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 2, 1, 2, 1, 2}));
}

}  // namespace
}  // namespace gemel
