// SPDX-License-Identifier: Apache-2.0
#include "mirror/pace_controller.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/sim/random.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kBase_ns = 100 * kMicrosecond;

// Clients at so many requests a second, each of which takes 100 to 200 us. Background work meets as
// many of them as it is busy, and those it meets take longer by what its pieces take.
class PaceControllerTest : public ::testing::Test {
protected:
    // What a request of a client takes longer that meets a piece of the step.
    using Effect = uint64_t (*)(const PaceStep& step);

    static double busy_share(const PaceStep& step) {
        return 1.0 / (1.0 + static_cast<double>(step.rests));
    }
    void calm(int requests) {
        for (int i = 0; i < requests; ++i) request(0, true, false);
    }
    // Returns how long each took, ascending.
    std::vector<uint64_t> work(uint64_t duration_ns, Effect effect) {
        std::vector<uint64_t> latencies;
        const uint64_t until = now_ns_ + duration_ns;
        const uint64_t began = now_ns_;
        double speed = 0;
        while (now_ns_ < until) {
            const PaceStep step = PaceController::step_at(controller_.step());
            const bool meets = random_.chance(
                static_cast<uint32_t>(busy_share(step) * static_cast<double>(sim::kCertain)));
            latencies.push_back(request(meets ? effect(step) : 0, !meets, true));
            speed += static_cast<double>(controller_.step()) * static_cast<double>(interval_ns_);
        }
        mean_step_ = speed / static_cast<double>(now_ns_ - began);
        std::sort(latencies.begin(), latencies.end());
        return latencies;
    }
    static uint64_t p99(const std::vector<uint64_t>& sorted) {
        return sorted[(sorted.size() - 1) * 99 / 100];
    }

    PaceController controller_;
    uint64_t interval_ns_ = 200 * kMicrosecond;
    double mean_step_ = 0;

private:
    uint64_t request(uint64_t more_ns, bool is_calm, bool running) {
        now_ns_ += interval_ns_;
        const uint64_t latency = kBase_ns + random_.below(kBase_ns) + more_ns;
        controller_.note(latency, is_calm, running, now_ns_);
        return latency;
    }
    sim::Random random_{3};
    uint64_t now_ns_ = 1000 * kSecond;
};

uint64_t nothing(const PaceStep&) { return 0; }
uint64_t by_size(const PaceStep& step) { return step.piece_blocks * step.at_once * 2'000; }
uint64_t always_much(const PaceStep&) { return 10 * kMillisecond; }

TEST_F(PaceControllerTest, EachStepOfTheLadderIsFasterThanTheOneBefore) {
    double before = 0;
    for (size_t i = 0; i < PaceController::kSteps; ++i) {
        const PaceStep step = PaceController::step_at(i);
        const double speed =
            static_cast<double>(step.piece_blocks * step.at_once) * busy_share(step);
        EXPECT_GT(speed, before);
        before = speed;
    }
    EXPECT_GT(busy_share(PaceController::step_at(0)), 0.03);  // The floor.
}

TEST_F(PaceControllerTest, BeginsAtTheFloorAndClimbsAsLongAsNobodyFeelsIt) {
    calm(1000);
    EXPECT_EQ(controller_.step(), 0u);
    static_cast<void>(work(3 * kSecond, nothing));
    EXPECT_EQ(controller_.step(), PaceController::kSteps - 1);
}

TEST_F(PaceControllerTest, WhileNothingIsKnownItStaysAtTheFloor) {
    static_cast<void>(work(10 * kMillisecond, nothing));
    EXPECT_EQ(controller_.step(), 0u);
}

TEST_F(PaceControllerTest, ClientsFeelNoMoreThanTheFactor) {
    for (const double factor : {1.2, 1.5, 3.0}) {
        controller_ = PaceController();
        controller_.set_factor(factor);
        calm(1000);
        const uint64_t alone = controller_.calm_p99_ns();
        const std::vector<uint64_t> beside = work(60 * kSecond, by_size);
        EXPECT_LE(static_cast<double>(p99(beside)), factor * static_cast<double>(alone)) << factor;
        EXPECT_GT(mean_step_, 0.0);
    }
}

TEST_F(PaceControllerTest, WhoBearsMoreGetsMoreWorkDone) {
    double before = -1;
    for (const double factor : {1.2, 2.0, 5.0}) {
        controller_ = PaceController();
        controller_.set_factor(factor);
        calm(1000);
        static_cast<void>(work(60 * kSecond, by_size));
        EXPECT_GT(mean_step_, before) << factor;
        before = mean_step_;
    }
}

TEST_F(PaceControllerTest, NeverStandsStill) {
    calm(1000);
    static_cast<void>(work(10 * kSecond, always_much));
    EXPECT_EQ(controller_.step(), 0u);
}

TEST_F(PaceControllerTest, WhatWasTooMuchIsTriedLessAndLessOften) {
    calm(1000);
    static_cast<void>(work(120 * kSecond, by_size));
    const double long_after = mean_step_;
    size_t tries = 0;
    size_t step = controller_.step();
    for (int i = 0; i < 600; ++i) {
        static_cast<void>(work(100 * kMillisecond, by_size));
        tries += controller_.step() > step ? 1 : 0;
        step = controller_.step();
    }
    EXPECT_LE(tries, 12u);
    EXPECT_GT(long_after, 1.0);
}

TEST_F(PaceControllerTest, FollowsWhenClientsBearMore) {
    calm(1000);
    static_cast<void>(work(20 * kSecond, by_size));
    const size_t before = controller_.step();
    static_cast<void>(work(40 * kSecond, nothing));
    EXPECT_GT(controller_.step(), before);
    EXPECT_EQ(controller_.step(), PaceController::kSteps - 1);
}

TEST_F(PaceControllerTest, AFewClientsAreEnoughToTell) {
    interval_ns_ = 50 * kMillisecond;
    calm(200);
    const std::vector<uint64_t> beside = work(600 * kSecond, by_size);
    EXPECT_LE(p99(beside), controller_.calm_p99_ns() * 2);
    EXPECT_GT(mean_step_, 0.5);
}

}  // namespace
}  // namespace gemel::mirror
