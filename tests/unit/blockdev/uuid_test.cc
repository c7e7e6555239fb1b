// SPDX-License-Identifier: Apache-2.0
#include "blockdev/uuid.h"

#include <gtest/gtest.h>

namespace gemel {
namespace {

constexpr const char* kText = "00112233-4455-6677-8899-aabbccddeeff";

TEST(Uuid, TextIsTheUsualForm) {
    Uuid uuid;
    for (size_t i = 0; i < 16; ++i) uuid.bytes[i] = static_cast<uint8_t>(i * 0x11);
    EXPECT_EQ(uuid.text(), kText);
}

TEST(Uuid, ParsesWhatItPrints) {
    const std::optional<Uuid> uuid = Uuid::parse(kText);
    ASSERT_TRUE(uuid.has_value());
    EXPECT_EQ(uuid->bytes[0], 0x00);
    EXPECT_EQ(uuid->bytes[15], 0xff);
    EXPECT_EQ(uuid->text(), kText);
}

TEST(Uuid, AcceptsUpperCase) {
    EXPECT_EQ(Uuid::parse("00112233-4455-6677-8899-AABBCCDDEEFF"), Uuid::parse(kText));
}

TEST(Uuid, RefusesEverythingElse) {
    for (const char* text : {
             "",
             "00112233-4455-6677-8899-aabbccddeef",    // One digit short.
             "00112233-4455-6677-8899-aabbccddeeff0",  // One too many.
             "00112233445566778899aabbccddeeff",       // No dashes.
             "0011223-34455-6677-8899-aabbccddeeff",   // A dash at the wrong place.
             "00112233-4455-6677-8899-aabbccddeefg",   // Not a digit.
             "00112233-4455-6677-8899-aabbccddeef ",   // Trailing blank.
             "{0112233-4455-6677-8899-aabbccddeef}",   // Another form.
             "00112233-4455-6677-8899-aabbccdd-eff",   // One dash too many.
         }) {
        EXPECT_EQ(Uuid::parse(text), std::nullopt) << text;
    }
}

TEST(Uuid, NilIsAllZero) {
    EXPECT_TRUE(Uuid{}.is_nil());
    EXPECT_FALSE(Uuid::parse(kText)->is_nil());
    EXPECT_EQ(Uuid{}.text(), "00000000-0000-0000-0000-000000000000");
}

TEST(Uuid, OrdersByItsBytes) {
    Uuid a;
    Uuid b;
    b.bytes[15] = 1;
    EXPECT_LT(a, b);
    a.bytes[0] = 1;
    EXPECT_GT(a, b);
}

}  // namespace
}  // namespace gemel
