// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_budget.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/net/net_fixture.h"

namespace gemel::net {
namespace {

class NbdBudgetTest : public NetTest {
protected:
    Task<void> take(NbdAccount& account, uint64_t bytes, int name) {
        const bool taken = co_await account.take(bytes);
        events_.push_back(taken ? name : -name);
    }

    Task<void> serves_in_order();
    Task<void> own_limit();
    Task<void> closing();
    Task<void> shortage();

    std::vector<int> events_;
};

Task<void> NbdBudgetTest::serves_in_order() {
    NbdBudget budget(env(), 100);
    NbdAccount first(budget, 100);
    NbdAccount second(budget, 100);
    NbdAccount third(budget, 100);
    EXPECT_TRUE(first.try_take(60));
    Scope scope(env());
    scope.start(take(second, 90, 2));
    // There is room for this one, but it may not overtake.
    EXPECT_FALSE(third.try_take(10));
    scope.start(take(third, 10, 3));
    co_await yield(env());
    EXPECT_TRUE(events_.empty());
    first.give(60);
    co_await scope.join();
    EXPECT_EQ(events_, (std::vector<int>{2, 3}));
    EXPECT_EQ(budget.used_bytes(), 100u);
    second.give(90);
    third.give(10);
    EXPECT_EQ(budget.used_bytes(), 0u);
}
TEST_F(NbdBudgetTest, ServesInTheOrderOfAsking) { env().run(serves_in_order()); }

Task<void> NbdBudgetTest::own_limit() {
    NbdBudget budget(env(), 1000);
    NbdAccount account(budget, 100);
    NbdAccount other(budget, 100);
    EXPECT_TRUE(account.try_take(100));
    EXPECT_FALSE(account.try_take(1));
    Scope scope(env());
    scope.start(take(account, 50, 1));
    // Whoever waits for room of its own is in nobody's way.
    EXPECT_TRUE(other.try_take(100));
    account.give(100);
    co_await scope.join();
    EXPECT_EQ(events_, std::vector<int>{1});
    account.give(50);
    other.give(100);
}
TEST_F(NbdBudgetTest, AnAccountHasALimitOfItsOwn) { env().run(own_limit()); }

Task<void> NbdBudgetTest::closing() {
    NbdBudget budget(env(), 100);
    NbdAccount first(budget, 100);
    NbdAccount second(budget, 100);
    NbdAccount third(budget, 100);
    EXPECT_TRUE(first.try_take(50));
    Scope scope(env());
    scope.start(take(second, 100, 2));
    scope.start(take(third, 50, 3));
    co_await yield(env());
    second.close();
    co_await scope.join();
    EXPECT_EQ(events_, (std::vector<int>{-2, 3}));
    EXPECT_FALSE(second.try_take(1));
    first.give(50);
    third.give(50);
}
TEST_F(NbdBudgetTest, AClosedAccountLeavesTheLine) { env().run(closing()); }

Task<void> NbdBudgetTest::shortage() {
    NbdBudget budget(env(), 100);
    NbdAccount holder(budget, 100);
    NbdAccount waiter(budget, 100);
    EXPECT_TRUE(holder.try_take(100));
    budget.on_shortage([](void* context) { static_cast<NbdAccount*>(context)->give(100); },
                       &holder);
    co_await take(waiter, 100, 1);
    EXPECT_EQ(events_, std::vector<int>{1});
    waiter.give(100);
}
TEST_F(NbdBudgetTest, ShortageIsReported) { env().run(shortage()); }

TEST_F(NbdBudgetTest, BuffersCarryTheirCharge) {
    NbdBudget budget(env(), 64 << 20);
    blockdev::BufferPool pool(1 << 20);
    NbdAccount account(budget, 64 << 20);
    for (const size_t size : {1u, 4096u, 100000u, 2u << 20, (2u << 20) + 1, 32u << 20}) {
        const uint64_t charge = buffer_charge(size);
        EXPECT_GE(charge, size);
        ASSERT_TRUE(account.try_take(charge));
        NbdBuffer buffer(pool, account, size, charge);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kIoAlignment, 0u);
        EXPECT_EQ(buffer.size(), size);
        buffer.data()[size - 1] = std::byte{1};
        NbdBuffer moved = std::move(buffer);
        EXPECT_EQ(account.used_bytes(), charge);
        moved = NbdBuffer();
        EXPECT_EQ(account.used_bytes(), 0u);
    }
}

}  // namespace
}  // namespace gemel::net
