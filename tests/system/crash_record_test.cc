// SPDX-License-Identifier: Apache-2.0
//
// The judge is judged: it must accept whatever a right disk can show, and name each way of being
// wrong. A checker that accepts everything would make every crash test pass.
#include "tests/system/crash_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/system/crash_order.h"

namespace gemel::crash {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSize = 512 << 10;
constexpr uint64_t kByteZone = 32 << 10;
constexpr uint64_t kSeed = 7;

class RecordTest : public testing::Test {
protected:
    // The disk does [from, to) of a write.
    void apply(Version version, uint64_t from, uint64_t to) {
        const Operation& done = record_.operation(version);
        const std::span<uint8_t> place(disk_.data() + from, to - from);
        if (done.kind == Kind::write) {
            fill_pattern(kSeed, version, from, place);
        } else {
            std::fill(place.begin(), place.end(), uint8_t{0});
        }
    }

    void apply(Version version) {
        const Operation& done = record_.operation(version);
        apply(version, done.offset, done.offset + done.length);
    }

    Version write(uint64_t offset, uint64_t length) {
        const Version version = record_.submit(Kind::write, offset, length);
        apply(version);
        record_.acknowledge(version);
        return version;
    }

    std::string verdict() {
        for (uint64_t offset = 0; offset < kSize; offset += kSize / 4) {
            const std::string wrong = record_.check(offset, {disk_.data() + offset, kSize / 4});
            if (!wrong.empty()) return wrong;
        }
        return record_.settle();
    }

    std::string crash_and_verdict() {
        record_.crash();
        return verdict();
    }

    std::string read(const Record::Read& begun) {
        return record_.finish_read(begun, {disk_.data() + begun.offset, begun.length});
    }

    Record record_{kSize, kByteZone, kSeed};
    std::vector<uint8_t> disk_ = std::vector<uint8_t>(kSize, 0);
};

TEST_F(RecordTest, AcceptsAnUntouchedDiskOfZeroes) { EXPECT_THAT(crash_and_verdict(), IsEmpty()); }

TEST_F(RecordTest, NamesALostAcknowledgedWrite) {
    const Version lost = record_.submit(Kind::write, 65536, 4096);
    record_.acknowledge(lost);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 65536 holds zeroes, expected write 1"));
}

TEST_F(RecordTest, NamesALostOverwrite) {
    write(65536, 8192);
    const Version lost = record_.submit(Kind::write, 69632, 512);
    record_.acknowledge(lost);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 69632 holds write 1 of offset 69632"));
}

TEST_F(RecordTest, NamesAFlippedBitAndAMisplacedSector) {
    write(65536, 8192);
    disk_[66000] ^= 1;
    EXPECT_THAT(crash_and_verdict(), HasSubstr("a damaged or torn sector of write 1"));
    disk_[66000] ^= 1;
    std::copy_n(disk_.begin() + 65536, 512, disk_.begin() + 70144);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 65536, in the wrong place"));
}

TEST_F(RecordTest, NamesALostSingleByteOfAnUnalignedWrite) {
    write(1001, 37);
    disk_[1037] ^= 0x10;
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 1037 holds the byte"));
}

TEST_F(RecordTest, AcceptsAnUnansweredWriteWholeOrNotAtAllButNotTorn) {
    for (const uint64_t torn_at : {0, 1024, 65536}) {
        write(131072, 65536);
        const Version open = record_.submit(Kind::write, 131072, 65536);
        apply(open, 131072, 131072 + torn_at);
        if (torn_at == 1024) {
            EXPECT_THAT(crash_and_verdict(), HasSubstr("no order of whole writes"));
            apply(open);
        }
        EXPECT_THAT(crash_and_verdict(), IsEmpty());
    }
}

TEST_F(RecordTest, NamesATornUnalignedWrite) {
    write(5000, 3000);
    const Version open = record_.submit(Kind::write, 5001, 2000);
    apply(open, 5001, 6000);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("no order of whole writes"));
}

TEST_F(RecordTest, TakesALargeWriteAsSingleBlocks) {
    Version open = record_.submit(Kind::write, 131072, 131072);
    apply(open, 131072 + 8192, 131072 + 12288);
    EXPECT_THAT(crash_and_verdict(), IsEmpty());
    open = record_.submit(Kind::write, 131072, 131072);
    apply(open, 131072, 131072 + 512);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("no order of whole writes"));
}

TEST_F(RecordTest, WhatAnUnansweredWriteLeftIsFixedAfterTheCheck) {
    const Version open = record_.submit(Kind::write, 131072, 4096);
    EXPECT_THAT(crash_and_verdict(), IsEmpty());
    fill_pattern(kSeed, open, 131072, {disk_.data() + 131072, 4096});
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 131072 holds write 1"));
}

TEST_F(RecordTest, ConcurrentWritesOverlapInEitherOrderButNotInBoth) {
    for (const int order : {0, 1, 2}) {
        const Version first = record_.submit(Kind::write, 131072, 16384);
        const Version second = record_.submit(Kind::write, 131072 + 8192, 16384);
        apply(first);
        apply(second);
        if (order == 1) apply(first);
        if (order == 2) apply(first, 131072 + 8192, 131072 + 8704);
        record_.acknowledge(second);
        record_.acknowledge(first);
        const std::string wrong = crash_and_verdict();
        if (order == 2) {
            EXPECT_THAT(wrong, HasSubstr("no order of whole writes"));
        } else {
            EXPECT_THAT(wrong, IsEmpty());
        }
    }
}

TEST_F(RecordTest, AWriteSentAfterAnAnswerComesAfterIt) {
    const Version first = write(131072, 4096);
    write(131072, 4096);
    apply(first);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("expected write 2"));
}

TEST_F(RecordTest, TrimLeavesPartialBlocksAloneAndZeroesDoNot) {
    write(65536, 12288);
    const Version trim = record_.submit(Kind::trim, 65536 + 512, 8192);
    std::fill_n(disk_.begin() + 65536 + 4096, 4096, uint8_t{0});
    record_.acknowledge(trim);
    EXPECT_THAT(crash_and_verdict(), IsEmpty());
    const Version zeroes = record_.submit(Kind::zeroes, 65536 + 512, 1024);
    record_.acknowledge(zeroes);
    EXPECT_THAT(crash_and_verdict(), HasSubstr("offset 66048 holds write 1"));
}

TEST_F(RecordTest, AReadSeesOldOrNewOfEachBlockButNeverAMixture) {
    write(65536, 8192);
    const Version open = record_.submit(Kind::write, 65536, 8192);
    const Record::Read begun = record_.begin_read(65536, 8192);
    EXPECT_THAT(read(begun), IsEmpty());
    apply(open, 65536, 65536 + 4096);
    EXPECT_THAT(read(begun), IsEmpty());
    apply(open, 65536 + 4096, 65536 + 4608);
    EXPECT_THAT(read(begun), HasSubstr("a read beside writes"));
    apply(open);
    record_.acknowledge(open);
    EXPECT_THAT(read(begun), IsEmpty());
}

TEST_F(RecordTest, AReadBegunAfterAnAnswerSeesTheWrite) {
    const Version first = write(65536, 4096);
    write(65536, 4096);
    apply(first);
    EXPECT_THAT(read(record_.begin_read(65536, 4096)), HasSubstr("a read: offset 65536"));
}

// A right disk does whole writes (single blocks of large ones) in any order that time allows, and
// some of the unanswered ones. None of that may ever be called wrong.
TEST_F(RecordTest, AcceptsEveryRightDisk) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random(seed);
        const auto pick = [&](uint64_t last) { return random() % (last + 1); };
        std::vector<Version> waiting;
        for (int step = 0; step < 300; ++step) {
            if (waiting.size() < 16 && pick(1) == 0) {
                const bool in_bytes = pick(3) == 0;
                const uint64_t unit = in_bytes ? 1 : kSector;
                const uint64_t length = (1 + pick(in_bytes ? 9000 : 150)) * unit;
                const uint64_t limit = std::min<uint64_t>(in_bytes ? kByteZone : 160 << 10, kSize);
                const uint64_t offset = pick((limit - length) / unit) * unit;
                waiting.push_back(record_.submit(static_cast<Kind>(pick(2)), offset, length));
            } else if (!waiting.empty()) {
                const size_t index = pick(waiting.size() - 1);
                apply(waiting[index]);
                record_.acknowledge(waiting[index]);
                waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(index));
            }
        }
        for (const Version version : waiting) {
            if (pick(1) == 0) apply(version);
        }
        ASSERT_THAT(crash_and_verdict(), IsEmpty()) << "seed " << seed;
    }
}

TEST(CrashOrder, FindsContradictionsWithTimeAndWithoutIt) {
    const std::vector<Event> events{{2, 5}, {3, 4}, {6, 7}};
    EXPECT_THAT(find_contradiction(events, {{0, 1, 0}, {1, 2, 0}}), IsEmpty());
    EXPECT_EQ(find_contradiction(events, {{0, 1, 0}, {1, 0, 0}}).size(), 2u);
    EXPECT_EQ(find_contradiction(events, {{2, 0, 0}}).size(), 1u);
}

}  // namespace
}  // namespace gemel::crash
