// SPDX-License-Identifier: Apache-2.0
#include "mirror/read_policy.h"

#include <gtest/gtest.h>

#include <vector>

namespace gemel::mirror {
namespace {

constexpr uint64_t kFast = 100 * kMicrosecond;
constexpr uint64_t kSlow = 10 * kMillisecond;

size_t choose(std::vector<ReadCandidate> candidates, size_t first = 0) {
    return choose_reader(candidates, first);
}

TEST(ReadPolicy, MembersThatAreAlikeHaveTheirTurns) {
    const std::vector<ReadCandidate> alike = {{true, 1, kFast}, {true, 1, kFast * 2}, {true, 1, 0}};
    for (size_t first = 0; first < 6; ++first) EXPECT_EQ(choose(alike, first), first % 3);
}

TEST(ReadPolicy, OfMembersThatAreAlikeTheOneWithTheLeastToDo) {
    for (size_t first = 0; first < 2; ++first) {
        EXPECT_EQ(choose({{true, 3, kFast}, {true, 2, kFast * 3 / 2}}, first), 1u);
    }
}

TEST(ReadPolicy, ASlowMemberGetsWhatTheOthersWouldTakeLongerFor) {
    for (size_t first = 0; first < 2; ++first) {
        EXPECT_EQ(choose({{true, 0, kSlow}, {true, 0, kFast}}, first), 1u);
        EXPECT_EQ(choose({{true, 0, kSlow}, {true, 98, kFast}}, first), 1u);
        EXPECT_EQ(choose({{true, 0, kSlow}, {true, 100, kFast}}, first), 0u);
    }
}

TEST(ReadPolicy, OnlyWhoIsReadableIsAsked) {
    EXPECT_EQ(choose({{false, 0, kFast}, {true, 50, kSlow}}), 1u);
    EXPECT_EQ(choose({{false, 0, kFast}, {false, 0, 0}}), SIZE_MAX);
    EXPECT_EQ(choose({}), SIZE_MAX);
    // What is known of others is no comparison.
    EXPECT_EQ(fastest_ns(std::vector<ReadCandidate>{{false, 0, 1}, {true, 0, kSlow}}), kSlow);
}

TEST(ReadPolicy, AReadIsLateByItsOwnMembersMeasure) {
    const ReadLimits limits;
    Latency latency;
    EXPECT_EQ(late_after_ns(latency, limits), limits.late_ns_min);
    for (int i = 0; i < 1000; ++i) latency.record(kFast);
    EXPECT_EQ(late_after_ns(latency, limits), limits.late_ns_min);
    for (int i = 0; i < 1000; ++i) latency.record(kSlow);
    EXPECT_GE(late_after_ns(latency, limits), 3 * kSlow);
    EXPECT_LE(late_after_ns(latency, limits), 4 * kSlow);
    for (int i = 0; i < 1000; ++i) latency.record(kSecond);
    EXPECT_EQ(late_after_ns(latency, limits), limits.late_ns_max);
}

TEST(ReadPolicy, ALateReadIsGivenToAnotherMemberLongBeforeItsMemberIsGivenUp) {
    for (const uint64_t timeout : {100 * kMillisecond, kSecond, 30 * kSecond}) {
        const ReadLimits limits = ReadLimits::within(timeout);
        EXPECT_LE(limits.late_ns_max, timeout / 8);
        EXPECT_GE(limits.late_ns_max, limits.late_ns_min);
    }
}

}  // namespace
}  // namespace gemel::mirror
