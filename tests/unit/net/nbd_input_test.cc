// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_input.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/net/nbd_test_client.h"
#include "tests/unit/net/net_fixture.h"

namespace gemel::net {
namespace {

class NbdInputTest : public NetTest {
protected:
    NbdInputTest() : pool_(1 << 20), budget_(env(), 8 << 20), account_(budget_, 8 << 20) {}

    NbdBuffer chunk() { return NbdBuffer(pool_, account_, NbdInput::kChunkBytes, 0); }
    static void receive(NbdInput& input, const Bytes& bytes) {
        ASSERT_LE(bytes.size(), input.room().size());
        std::memcpy(input.room().data(), bytes.data(), bytes.size());
        input.received(bytes.size());
    }
    static bool holds(const NbdInput& input, const Bytes& bytes) {
        const auto unread = input.unread();
        return std::equal(unread.begin(), unread.end(), bytes.begin(), bytes.end());
    }

    blockdev::BufferPool pool_;
    NbdBudget budget_;
    NbdAccount account_;
};

TEST_F(NbdInputTest, AnEmptyChunkStartsOver) {
    NbdInput input(chunk());
    receive(input, pattern(NbdInput::kChunkBytes, 1));
    input.consume(NbdInput::kChunkBytes);
    EXPECT_TRUE(input.room().empty());
    EXPECT_TRUE(input.make_room(28));
    EXPECT_EQ(input.room().size(), NbdInput::kChunkBytes);
}

TEST_F(NbdInputTest, WhatIsUnreadMovesToTheFront) {
    NbdInput input(chunk());
    const Bytes bytes = pattern(NbdInput::kChunkBytes, 1);
    receive(input, bytes);
    input.consume(NbdInput::kChunkBytes - 10);
    EXPECT_TRUE(input.make_room(28));
    EXPECT_TRUE(holds(input, Bytes(bytes.end() - 10, bytes.end())));
    EXPECT_EQ(input.room().size(), NbdInput::kChunkBytes - 10);
}

TEST_F(NbdInputTest, APinnedChunkIsReplaced) {
    NbdInput input(chunk());
    const Bytes bytes = pattern(NbdInput::kChunkBytes, 1);
    receive(input, bytes);
    const NbdPin pin = input.pin();
    const auto pinned = input.unread();
    input.consume(NbdInput::kChunkBytes - 10);
    EXPECT_FALSE(input.make_room(28));
    input.replace(chunk());
    EXPECT_TRUE(holds(input, Bytes(bytes.end() - 10, bytes.end())));
    EXPECT_TRUE(input.make_room(28));
    receive(input, pattern(1000, 2));
    EXPECT_TRUE(std::equal(pinned.begin(), pinned.end(), bytes.begin()));
}

TEST_F(NbdInputTest, APinnedChunkWithRoomLeftIsUsedOn) {
    NbdInput input(chunk());
    receive(input, pattern(4124, 1));
    const NbdPin pin = input.pin();
    input.consume(4124);
    EXPECT_TRUE(input.make_room(28));
    EXPECT_EQ(input.room().size(), NbdInput::kChunkBytes - 4124);
}

TEST_F(NbdInputTest, AWholeChunkCanBeWanted) {
    NbdInput input(chunk());
    receive(input, pattern(100, 1));
    input.consume(28);
    EXPECT_TRUE(input.make_room(NbdInput::kChunkBytes));
    EXPECT_EQ(input.unread().size() + input.room().size(), NbdInput::kChunkBytes);
    receive(input, pattern(NbdInput::kChunkBytes - 100, 1));
    EXPECT_TRUE(input.make_room(NbdInput::kChunkBytes));
    EXPECT_EQ(input.room().size(), 28u);
}

}  // namespace
}  // namespace gemel::net
