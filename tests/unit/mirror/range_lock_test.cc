// SPDX-License-Identifier: Apache-2.0
//
// Requests that share a block, in the order of their arrival.
#include "mirror/range_lock.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "blockdev/task.h"
#include "tests/sim/random.h"
#include "tests/unit/blockdev/manual_loop.h"

namespace gemel::mirror {
namespace {

using Mode = RangeLock::Mode;

// One request: holds its range from when it may until it is told to go.
struct Request {
    Request(Loop& loop, uint64_t first_block, uint64_t end_block, Mode mode)
        : first(first_block), end(end_block), shared(mode == Mode::shared), leave(loop) {}
    bool conflicts_with(const Request& other) const {
        return first < other.end && other.first < end && !(shared && other.shared);
    }
    uint64_t first;
    uint64_t end;
    bool shared;
    bool granted = false;
    bool left = false;
    Event leave;
};

Task<void> hold_range(RangeLock& lock, Request& request) {
    RangeLock::Hold hold(lock, request.first, request.end,
                         request.shared ? Mode::shared : Mode::exclusive);
    co_await hold;
    request.granted = true;
    while (!request.left) co_await request.leave.wait();
}

class RangeLockTest : public ::testing::Test {
protected:
    Request& ask(uint64_t first, uint64_t end, Mode mode) {
        requests_.push_back(std::make_unique<Request>(loop_, first, end, mode));
        scope_.start(hold_range(lock_, *requests_.back()));
        return *requests_.back();
    }
    Request& read(uint64_t first, uint64_t end) { return ask(first, end, Mode::shared); }
    Request& write(uint64_t first, uint64_t end) { return ask(first, end, Mode::exclusive); }
    void leave(Request& request) {
        request.left = true;
        request.leave.notify_all();
        loop_.run();
    }
    void TearDown() override {
        for (bool again = true; again;) {
            again = false;
            for (auto& request : requests_) {
                if (request->left || !request->granted) continue;
                leave(*request);
                again = true;
            }
        }
        EXPECT_TRUE(lock_.idle());
        EXPECT_EQ(scope_.running(), 0u);
    }

    ManualLoop loop_;
    RangeLock lock_{loop_};
    std::vector<std::unique_ptr<Request>> requests_;
    Scope scope_{loop_};
};

TEST_F(RangeLockTest, TheFirstGoesAtOnce) {
    EXPECT_TRUE(lock_.idle());
    EXPECT_TRUE(write(0, 1).granted);
    EXPECT_FALSE(lock_.idle());
}

TEST_F(RangeLockTest, RequestsThatShareNothingGoSideBySide) {
    EXPECT_TRUE(write(0, 4).granted);
    EXPECT_TRUE(write(4, 8).granted);
    EXPECT_TRUE(read(8, 9).granted);
    EXPECT_TRUE(write(9, 10).granted);
}

TEST_F(RangeLockTest, ReadersShare) {
    EXPECT_TRUE(read(0, 8).granted);
    EXPECT_TRUE(read(4, 12).granted);
    EXPECT_TRUE(read(0, 100).granted);
}

TEST_F(RangeLockTest, AWriterWaitsForReadersAndReadersForAWriter) {
    Request& first = read(0, 8);
    Request& second = read(2, 4);
    Request& writer = write(3, 6);
    Request& late = read(5, 6);
    EXPECT_FALSE(writer.granted);
    leave(first);
    EXPECT_FALSE(writer.granted);
    EXPECT_FALSE(late.granted);
    leave(second);
    EXPECT_TRUE(writer.granted);
    EXPECT_FALSE(late.granted);
    leave(writer);
    EXPECT_TRUE(late.granted);
}

TEST_F(RangeLockTest, NobodyOvertakesAWaitingWriterOfTheSameBlock) {
    Request& reader = read(0, 4);
    Request& writer = write(0, 4);
    Request& overtaking = read(0, 4);
    Request& elsewhere = read(4, 8);
    EXPECT_FALSE(overtaking.granted);
    EXPECT_TRUE(elsewhere.granted);
    leave(reader);
    EXPECT_TRUE(writer.granted);
    EXPECT_FALSE(overtaking.granted);
}

TEST_F(RangeLockTest, WritersGoInTheOrderOfTheirArrival) {
    std::vector<Request*> writers;
    for (int i = 0; i < 10; ++i) writers.push_back(&write(5, 6));
    for (size_t i = 0; i < writers.size(); ++i) {
        for (size_t j = i; j < writers.size(); ++j) EXPECT_EQ(writers[j]->granted, j == i);
        leave(*writers[i]);
    }
}

TEST_F(RangeLockTest, AWriteThatWaitsHoldsBackALaterOneThatSharesOnlyItsOtherEnd) {
    Request& a = write(0, 2);
    Request& b = write(1, 5);
    Request& c = write(4, 6);
    EXPECT_FALSE(b.granted);
    EXPECT_FALSE(c.granted);
    leave(a);
    EXPECT_TRUE(b.granted);
    EXPECT_FALSE(c.granted);
    leave(b);
    EXPECT_TRUE(c.granted);
}

// Leaves out of order, and everywhere: whoever is granted conflicts with nobody else who is, and
// whoever waits is behind somebody earlier with whom it conflicts.
TEST_F(RangeLockTest, GrantsFollowTheRuleInAnyOrderOfLeaving) {
    sim::Random random(2);
    for (int step = 0; step < 4000; ++step) {
        std::vector<Request*> holders;
        for (auto& request : requests_) {
            if (request->granted && !request->left) holders.push_back(request.get());
        }
        if (holders.size() > 12 || (!holders.empty() && random.coin())) {
            leave(*holders[random.below(holders.size())]);
        } else {
            const uint64_t first = random.below(40);
            ask(first, first + random.between(1, 6),
                random.coin() ? Mode::shared : Mode::exclusive);
        }
        std::erase_if(requests_, [](const auto& request) { return request->left; });
        for (size_t i = 0; i < requests_.size(); ++i) {
            bool blocked = false;
            for (size_t j = 0; j < i; ++j) {
                blocked = blocked || requests_[i]->conflicts_with(*requests_[j]);
            }
            ASSERT_EQ(requests_[i]->granted, !blocked) << step;
        }
    }
}

}  // namespace
}  // namespace gemel::mirror
