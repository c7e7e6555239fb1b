// SPDX-License-Identifier: Apache-2.0
#include "mirror/latency.h"

#include <gtest/gtest.h>

#include "blockdev/loop.h"

namespace gemel::mirror {
namespace {

TEST(Latency, KnowsNothingAtFirst) {
    const Latency latency;
    EXPECT_EQ(latency.quantile_ns(500), 0u);
    EXPECT_EQ(latency.p99_ns(), 0u);
    EXPECT_EQ(latency.recent_ns(), 0u);
}

TEST(Latency, RoundsUpByAnEighthAtMost) {
    for (uint64_t ns = 9 * kMicrosecond; ns < 60 * kSecond; ns += ns / 7) {
        Latency latency;
        latency.record(ns);
        for (const uint64_t got :
             {latency.quantile_ns(500), latency.p99_ns(), latency.recent_ns()}) {
            EXPECT_GE(got, ns);
            EXPECT_LE(got, ns + ns / 8 + 1024);
        }
    }
}

TEST(Latency, TakesWhateverComes) {
    Latency latency;
    latency.record(0);
    EXPECT_LE(latency.p99_ns(), 2 * kMicrosecond);
    latency.record(UINT64_MAX);
    EXPECT_GE(latency.p99_ns(), 60 * kSecond);
}

TEST(Latency, QuantilesAreThoseOfTheAnswers) {
    Latency latency;
    for (uint64_t us = 1000; us < 2000; ++us) latency.record(us * kMicrosecond);
    EXPECT_NEAR(static_cast<double>(latency.quantile_ns(500)), 1.5e6, 0.2e6);
    EXPECT_NEAR(static_cast<double>(latency.quantile_ns(990)), 1.99e6, 0.25e6);
    EXPECT_NEAR(static_cast<double>(latency.quantile_ns(100)), 1.1e6, 0.15e6);
}

TEST(Latency, OneInAHundredIsTheP99) {
    Latency latency;
    for (int i = 0; i < 1900; ++i) {
        latency.record(i % 50 == 49 ? 20 * kMillisecond : 100 * kMicrosecond);
    }
    EXPECT_GE(latency.p99_ns(), 20 * kMillisecond);
    Latency calm;
    for (int i = 0; i < 1900; ++i) {
        calm.record(i % 200 == 199 ? 20 * kMillisecond : 100 * kMicrosecond);
    }
    EXPECT_LE(calm.p99_ns(), 120 * kMicrosecond);
}

TEST(Latency, FollowsThePresent) {
    Latency latency;
    for (int i = 0; i < 100'000; ++i) latency.record(20 * kMillisecond);
    for (int i = 0; i < 20'000; ++i) latency.record(100 * kMicrosecond);
    EXPECT_LE(latency.p99_ns(), 120 * kMicrosecond);
    EXPECT_LE(latency.weight(), 2048u);
}

TEST(Latency, OneLateAnswerIsNotYetALaterTime) {
    Latency latency;
    for (int i = 0; i < 100; ++i) latency.record(100 * kMicrosecond);
    latency.record(10 * kMillisecond);
    EXPECT_LE(latency.recent_ns(), 200 * kMicrosecond);
    for (int i = 0; i < 4; ++i) latency.record(10 * kMillisecond);
    EXPECT_GE(latency.recent_ns(), 600 * kMicrosecond);
    for (int i = 0; i < 40; ++i) latency.record(100 * kMicrosecond);
    EXPECT_LE(latency.recent_ns(), 150 * kMicrosecond);
}

}  // namespace
}  // namespace gemel::mirror
