// SPDX-License-Identifier: Apache-2.0
#include "mirror/slowness.h"

#include <gtest/gtest.h>

#include <vector>

namespace gemel::mirror {
namespace {

constexpr SlowLimits kLimits;
using Advice = SlowHistory::Advice;

WorkDone done(uint64_t answers, uint64_t each_ns, uint64_t oldest_ns = 0) {
    return {answers, answers * each_ns, oldest_ns};
}
Speed judge(const WorkDone& own, std::vector<WorkDone> others) {
    return judge_speed(own, others, kLimits);
}

TEST(Slowness, IsFarAboveTheOthersAndFeltAtAll) {
    const WorkDone fast = done(100, 200 * kMicrosecond);
    EXPECT_EQ(judge(done(10, 20 * kMillisecond), {fast}), Speed::slow);
    EXPECT_EQ(judge(done(10, 4 * kMillisecond), {fast}), Speed::between);
    EXPECT_EQ(judge(done(10, 2 * kMillisecond), {fast}), Speed::fast);
    // Ten times as slow, but nobody would notice.
    EXPECT_EQ(judge(done(100, 2 * kMillisecond), {done(100, 10 * kMicrosecond)}), Speed::fast);
}

TEST(Slowness, WhereAllAreSlowNobodyIs) {
    const WorkDone slow = done(10, 100 * kMillisecond);
    EXPECT_EQ(judge(slow, {slow}), Speed::fast);
    EXPECT_EQ(judge(slow, {slow, done(10, 50 * kMillisecond)}), Speed::fast);
    // One that does better is enough.
    EXPECT_EQ(judge(slow, {slow, done(10, kMillisecond)}), Speed::slow);
}

TEST(Slowness, NeedsSomebodyToCompareWith) {
    EXPECT_EQ(judge(done(10, kSecond), {}), Speed::unknown);
    EXPECT_EQ(judge(done(10, kSecond), {done(0, 0)}), Speed::unknown);
    EXPECT_EQ(judge(done(0, 0), {done(10, kMillisecond)}), Speed::unknown);
    // One that hangs as well proves nothing.
    EXPECT_EQ(judge(done(0, 0, kSecond), {done(0, 0, kSecond)}), Speed::unknown);
}

TEST(Slowness, WhatIsNotAnsweredCounts) {
    const WorkDone fast = done(100, 200 * kMicrosecond);
    EXPECT_EQ(judge(done(0, 0, 200 * kMillisecond), {fast}), Speed::slow);
    EXPECT_EQ(judge(done(1, kMillisecond, 200 * kMillisecond), {fast}), Speed::slow);
    EXPECT_EQ(judge(done(100, 200 * kMicrosecond, 100 * kMicrosecond), {fast}), Speed::fast);
}

class SlowHistoryTest : public ::testing::Test {
protected:
    Advice note(Speed speed) {
        now_ns_ += kLimits.window_ns;
        return history_.note(speed, lags_, now_ns_, kLimits);
    }
    // Until it is to leave; how many windows that took.
    unsigned leave() {
        for (unsigned windows = 1; windows < 100; ++windows) {
            if (note(Speed::slow) != Advice::leave) continue;
            lags_ = true;
            return windows;
        }
        return 0;
    }
    // Until it is to come back; how long that took.
    uint64_t come_back() {
        const uint64_t began = now_ns_;
        while (note(Speed::fast) != Advice::come_back) {}
        lags_ = false;
        history_.came_back(now_ns_);
        return now_ns_ - began;
    }
    void wait(uint64_t duration_ns) {
        const uint64_t until = now_ns_ + duration_ns;
        while (now_ns_ < until) EXPECT_EQ(note(Speed::fast), Advice::nothing);
    }

    SlowHistory history_;
    bool lags_ = false;
    uint64_t now_ns_ = 1000 * kSecond;
};

TEST_F(SlowHistoryTest, OneSlowWindowIsNoReason) {
    for (int i = 0; i < 100; ++i) {
        for (unsigned n = 1; n < kLimits.windows_to_leave; ++n) {
            ASSERT_EQ(note(Speed::slow), Advice::nothing);
        }
        ASSERT_EQ(note(i % 2 == 0 ? Speed::fast : Speed::between), Advice::nothing);
    }
    EXPECT_EQ(leave(), kLimits.windows_to_leave);
}

TEST_F(SlowHistoryTest, WindowsInWhichNothingHappenedProveNothing) {
    for (unsigned n = 1; n < kLimits.windows_to_leave; ++n) {
        ASSERT_EQ(note(Speed::slow), Advice::nothing);
        ASSERT_EQ(note(Speed::unknown), Advice::nothing);
    }
    EXPECT_EQ(note(Speed::slow), Advice::leave);
}

TEST_F(SlowHistoryTest, MustBeGoodForLongerThanItHadToBeBad) {
    const uint64_t bad_ns = leave() * kLimits.window_ns;
    EXPECT_GT(come_back(), bad_ns);
}

TEST_F(SlowHistoryTest, ComesBackOnlyAfterAWholeWaitWithoutASlowWindow) {
    leave();
    for (int i = 0; i < 50; ++i) {
        for (int n = 0; n < 4; ++n) ASSERT_EQ(note(Speed::fast), Advice::nothing);
        ASSERT_EQ(note(i % 2 == 0 ? Speed::slow : Speed::between), Advice::nothing);
    }
    EXPECT_GE(come_back(), kLimits.first_wait_ns);
}

TEST_F(SlowHistoryTest, EachRelapseDoublesTheWaitUpToABound) {
    uint64_t expected = kLimits.first_wait_ns;
    for (int i = 0; i < 10; ++i) {
        ASSERT_NE(leave(), 0u);
        EXPECT_NEAR(static_cast<double>(come_back()), static_cast<double>(expected),
                    static_cast<double>(2 * kLimits.window_ns));
        expected = std::min(2 * expected, kLimits.last_wait_ns);
    }
    EXPECT_EQ(history_.wait_ns(), kLimits.last_wait_ns);
}

TEST_F(SlowHistoryTest, LongGoodTimesMakeItForgotten) {
    for (int i = 0; i < 5; ++i) {
        leave();
        come_back();
    }
    wait(kLimits.forgiven_ns + kSecond);
    leave();
    EXPECT_EQ(history_.wait_ns(), kLimits.first_wait_ns);
}

TEST_F(SlowHistoryTest, WhoKnowsBetterCallsItBackAtOnce) {
    leave();
    history_.forgive();
    EXPECT_EQ(note(Speed::unknown), Advice::come_back);
}

}  // namespace
}  // namespace gemel::mirror
