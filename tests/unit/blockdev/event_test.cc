// SPDX-License-Identifier: Apache-2.0
#include "blockdev/event.h"

#include <vector>

#include <gtest/gtest.h>

#include "blockdev/task.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel {
namespace {

Task<void> wait_once(Event& event, int number, std::vector<int>& out) {
    const bool notified = co_await event.wait();
    out.push_back(notified ? number : -number);
}

Task<void> wait_until(Event& event, uint64_t deadline_ns, int number, std::vector<int>& out) {
    const bool notified = co_await event.wait_until(deadline_ns);
    out.push_back(notified ? number : -number);
}

Task<void> wait_for_flag(Event& event, const bool& flag, std::vector<int>& out) {
    while (!flag) {
        co_await event.wait();
        out.push_back(0);
    }
    out.push_back(1);
}

TEST(Event, WakesAllInTheOrderInWhichTheyCame) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    for (int i = 1; i <= 3; ++i) scope.start(wait_once(event, i, notes));
    EXPECT_TRUE(event.has_waiters());
    event.notify_all();
    EXPECT_TRUE(notes.empty()) << "only the loop resumes";
    EXPECT_FALSE(event.has_waiters());
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{1, 2, 3}));
}

TEST(Event, ANotificationIsNotRemembered) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    event.notify_all();
    scope.start(wait_once(event, 1, notes));
    loop.run();
    EXPECT_TRUE(notes.empty());
    event.notify_all();
    loop.run();
    EXPECT_EQ(notes, std::vector<int>{1});
}

TEST(Event, AWaiterThatFindsItsConditionUnmetWaitsAgain) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    bool flag = false;
    scope.start(wait_for_flag(event, flag, notes));
    event.notify_all();
    loop.run();
    EXPECT_EQ(notes, std::vector<int>{0});
    flag = true;
    event.notify_all();
    loop.run();
    EXPECT_EQ(notes, (std::vector<int>{0, 0, 1}));
}

TEST(Event, ADeadlineEndsTheWait) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    scope.start(wait_until(event, 2'000, 1, notes));
    loop.run_until(1'999);
    EXPECT_TRUE(notes.empty());
    loop.run_until(2'000);
    EXPECT_EQ(notes, std::vector<int>{-1});
    EXPECT_FALSE(event.has_waiters());
}

TEST(Event, ANotificationDisarmsTheDeadline) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    scope.start(wait_until(event, 2'000, 1, notes));
    event.notify_all();
    loop.run_until(5'000);
    EXPECT_EQ(notes, std::vector<int>{1});
    EXPECT_TRUE(loop.idle());
}

// Any of the waiters may give up: first, middle, last. The others stay linked.
TEST(Event, GivingUpLeavesTheOthersWaiting) {
    for (int quitter = 1; quitter <= 3; ++quitter) {
        ManualLoop loop;
        Event event(loop);
        Scope scope(loop);
        std::vector<int> notes;
        for (int i = 1; i <= 3; ++i) {
            scope.start(wait_until(event, i == quitter ? 2'000 : UINT64_MAX, i, notes));
        }
        loop.run_until(3'000);
        EXPECT_EQ(notes, std::vector<int>{-quitter});
        event.notify_all();
        loop.run();
        std::vector<int> expected{-quitter};
        for (int i = 1; i <= 3; ++i) {
            if (i != quitter) expected.push_back(i);
        }
        EXPECT_EQ(notes, expected);
    }
}

// A continuation due at the same moment as a waiter's deadline, armed before it.
struct NotifyAt {
    Event* event;
    Timer timer;

    explicit NotifyAt(Event& e) : event(&e) {
        timer.continuation.context = this;
        timer.continuation.run = [](void* self) {
            static_cast<NotifyAt*>(self)->event->notify_all();
        };
    }
};

TEST(Event, ANotificationInTheTurnOfTheDeadlineWinsAndWakesOnce) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    NotifyAt notifier(event);
    loop.arm(notifier.timer, 2'000);
    scope.start(wait_until(event, 2'000, 1, notes));
    loop.run_until(3'000);
    EXPECT_EQ(notes, std::vector<int>{1});
}

TEST(Event, ADeadlineJustBeforeTheNotificationWinsAndWakesOnce) {
    ManualLoop loop;
    Event event(loop);
    Scope scope(loop);
    std::vector<int> notes;
    NotifyAt notifier(event);
    scope.start(wait_until(event, 2'000, 1, notes));
    loop.arm(notifier.timer, 2'000);
    loop.run_until(3'000);
    EXPECT_EQ(notes, std::vector<int>{-1});
}

}  // namespace
}  // namespace gemel
