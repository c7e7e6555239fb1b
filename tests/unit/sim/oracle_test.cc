// SPDX-License-Identifier: Apache-2.0
//
// The oracle against devices that are right, and against wrong ones: each deliberate mistake of a
// replicated disk must be noticed.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "blockdev/bytes.h"
#include "tests/sim/oracle.h"

namespace gemel::sim {
namespace {

constexpr uint64_t kSize = 64 * Oracle::kBlock;
constexpr uint64_t kLimit = 64 << 10;

// An oracle, and the bytes of a device next to it.
struct Pair {
    Pair() : oracle(kSize, kLimit), content(kSize) {}

    void apply(const Oracle::Call& call) { apply(call, call.begin, call.end); }
    void apply(const Oracle::Call& call, uint64_t begin, uint64_t end) {
        const std::span<std::byte> range(content.data() + begin, end - begin);
        if (call.zeroes) std::memset(range.data(), 0, range.size());
        if (!call.zeroes) Oracle::fill(call.id, begin, range);
    }
    Oracle::Call* write(uint64_t offset, uint64_t length, bool fua = false) {
        return oracle.write(offset, length, fua);
    }
    Oracle::Call* answered_write(uint64_t offset, uint64_t length, bool fua = false) {
        Oracle::Call* call = write(offset, length, fua);
        oracle.answered(call);
        return call;
    }
    void flush() { oracle.flushed(oracle.begin_flush()); }
    std::string resolve(Loss loss) {
        oracle.begin_resolving();
        oracle.found(0, content);
        return oracle.finish_resolving(loss);
    }

    Oracle oracle;
    std::vector<std::byte> content;
};

TEST(Oracle, ExpectsTheLatestBytesAtAnyAlignment) {
    Pair pair;
    for (const auto& [offset, length] : std::vector<std::pair<uint64_t, uint64_t>>{
             {0, 4096}, {100, 1}, {4000, 200}, {8191, 12290}, {3, 60000}}) {
        pair.apply(*pair.answered_write(offset, length));
        EXPECT_EQ(pair.oracle.read(0, kSize).expected, pair.content);
    }
    pair.apply(*pair.oracle.zero(5000, 5000, false));
    pair.apply(*pair.oracle.trim(1000, 20000, false));
    EXPECT_EQ(pair.oracle.read(0, kSize).expected, pair.content);
    EXPECT_EQ(
        pair.oracle.read(777, 9999).expected,
        std::vector<std::byte>(pair.content.begin() + 777, pair.content.begin() + 777 + 9999));
}

TEST(Oracle, AcceptsUnansweredCallsThereOrNot) {
    for (const bool there : {false, true}) {
        Pair pair;
        pair.apply(*pair.answered_write(0, 8192));
        Oracle::Call* open = pair.write(4096, 8192);
        if (there) pair.apply(*open);
        EXPECT_EQ(pair.resolve(Loss::unanswered), "");
        EXPECT_EQ(pair.oracle.read(0, kSize).expected, pair.content);
    }
}

TEST(Oracle, NoticesAnAnsweredWriteThatAKillLost) {
    Pair pair;
    pair.answered_write(512, 1024);
    EXPECT_NE(pair.resolve(Loss::unanswered).find("lost: write 1"), std::string::npos);
}

TEST(Oracle, AcceptsThatPowerLossUndoesWhatWasNotFlushed) {
    Pair pair;
    pair.answered_write(512, 1024);
    EXPECT_EQ(pair.resolve(Loss::unflushed), "");
    EXPECT_EQ(pair.oracle.lost_calls(), 1u);
}

TEST(Oracle, NoticesALostWriteThatWasFlushed) {
    Pair pair;
    pair.answered_write(512, 1024);
    pair.flush();
    EXPECT_NE(pair.resolve(Loss::unflushed).find("lost"), std::string::npos);
}

TEST(Oracle, DoesNotCountOnAFlushMadeBeforeTheAnswer) {
    Pair pair;
    Oracle::Call* call = pair.write(0, 4096);
    const uint64_t begun = pair.oracle.begin_flush();
    pair.oracle.answered(call);
    pair.oracle.flushed(begun);
    EXPECT_EQ(pair.resolve(Loss::unflushed), "");
}

TEST(Oracle, NoticesFuaWithoutItselfOrWhatCameBefore) {
    Pair itself;
    itself.answered_write(0, 4096, true);
    EXPECT_NE(itself.resolve(Loss::unflushed).find("lost"), std::string::npos);
    Pair before;
    before.answered_write(8192, 4096);
    before.apply(*before.answered_write(0, 4096, true));
    EXPECT_NE(before.resolve(Loss::unflushed).find("lost: write 1"), std::string::npos);
}

TEST(Oracle, NoticesAHoleInTheHistory) {
    Pair pair;
    pair.answered_write(0, 4096);
    pair.apply(*pair.answered_write(40960, 4096));
    EXPECT_NE(pair.resolve(Loss::unflushed).find("not a prefix"), std::string::npos);
}

TEST(Oracle, NoticesAnUnansweredWriteWithoutWhatWasAnsweredBeforeIt) {
    Pair pair;
    pair.answered_write(0, 4096);
    pair.apply(*pair.write(40960, 4096));
    EXPECT_NE(pair.resolve(Loss::unflushed).find("not a prefix"), std::string::npos);
}

TEST(Oracle, NoticesReorderingInsideABlock) {
    Pair pair;
    pair.write(0, 512);
    pair.apply(*pair.write(1024, 512));
    EXPECT_NE(pair.resolve(Loss::unanswered).find("without the earlier"), std::string::npos);
}

TEST(Oracle, NoticesATornWriteUpToTheLimitOnly) {
    for (const bool small : {true, false}) {
        Pair pair;
        const uint64_t length = small ? kLimit : kLimit + 4096;
        Oracle::Call* call = pair.write(8192, length);
        pair.apply(*call, 8192, 8192 + 4096);
        EXPECT_EQ(pair.resolve(Loss::unanswered).find("torn") != std::string::npos, small);
    }
}

TEST(Oracle, NoticesATornBlockOfALargeWrite) {
    Pair pair;
    Oracle::Call* call = pair.write(0, 2 * kLimit);
    pair.apply(*call, 4096, 4096 + 512);
    EXPECT_NE(pair.resolve(Loss::unanswered).find("no write explains"), std::string::npos);
}

TEST(Oracle, NoticesBytesNobodyWrote) {
    Pair untouched;
    untouched.content[70000] = std::byte{1};
    EXPECT_NE(untouched.resolve(Loss::unanswered).find("nothing wrote it"), std::string::npos);
    Pair touched;
    touched.apply(*touched.answered_write(0, 4096));
    touched.content[9] = std::byte{1};
    EXPECT_NE(touched.resolve(Loss::unanswered).find("no write explains"), std::string::npos);
}

TEST(Oracle, NoticesContentOfAnotherPlace) {
    Pair pair;
    Oracle::Call* call = pair.answered_write(0, 8192);
    pair.apply(*call);
    std::memcpy(pair.content.data(), pair.content.data() + 4096, 4096);
    EXPECT_NE(pair.resolve(Loss::unanswered), "");
}

TEST(Oracle, NoticesThatOlderContentComesBack) {
    Pair pair;
    const Oracle::Call first = *pair.answered_write(0, 4096);
    pair.apply(first);
    pair.apply(*pair.answered_write(0, 4096));
    EXPECT_EQ(pair.resolve(Loss::unflushed), "");
    pair.apply(first);
    EXPECT_NE(pair.resolve(Loss::unflushed), "");
}

TEST(Oracle, HoldsOnToWhatWasFoundAfterACrash) {
    Pair pair;
    const Oracle::Call open = *pair.write(0, 4096);
    EXPECT_EQ(pair.resolve(Loss::unanswered), "");
    pair.apply(open);
    EXPECT_NE(pair.resolve(Loss::unflushed), "");
}

TEST(Oracle, AllowsAFailedCallToHaveHappenedInPart) {
    for (const uint64_t done : {0, 4096, 10000, 200000}) {
        Pair pair;
        pair.apply(*pair.answered_write(0, 4096));
        Oracle::Call* refused = pair.write(0, 200000);
        const Oracle::Read read = pair.oracle.read(100, 150000);
        pair.oracle.failed(refused);
        pair.apply(*refused, 0, done);
        const std::span<const std::byte> content(pair.content);
        EXPECT_FALSE(pair.oracle.fault_of(read, content.subspan(100, 150000)).has_value());
        EXPECT_TRUE(pair.oracle.may_hold(0, content.data()));
        pair.content[5000] ^= std::byte{0x5a};
        EXPECT_EQ(pair.oracle.fault_of(read, content.subspan(100, 150000)), 4096u);
    }
}

TEST(Oracle, TakesAnOrderlyStopForAFlush) {
    Pair pair;
    pair.answered_write(0, 4096);
    pair.oracle.stopped();
    EXPECT_NE(pair.resolve(Loss::unflushed).find("lost"), std::string::npos);
}

}  // namespace
}  // namespace gemel::sim
