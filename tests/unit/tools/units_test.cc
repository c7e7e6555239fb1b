// SPDX-License-Identifier: Apache-2.0
#include "tools/config/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "blockdev/loop.h"

namespace gemel::tools {
namespace {

using testing::HasSubstr;

uint64_t size_of(std::string_view text) {
    const Outcome<uint64_t> size = parse_size(text);
    EXPECT_TRUE(size.ok()) << text << ": " << (size.ok() ? "" : size.error().text);
    return size.ok() ? size.value() : 0;
}

TEST(ParseSize, ReadsBinaryUnitsInEitherCase) {
    EXPECT_EQ(size_of("4096"), 4096u);
    EXPECT_EQ(size_of("0"), 0u);
    EXPECT_EQ(size_of("64K"), 65536u);
    EXPECT_EQ(size_of("64k"), 65536u);
    EXPECT_EQ(size_of("512M"), 512ull << 20);
    EXPECT_EQ(size_of("1G"), 1ull << 30);
    EXPECT_EQ(size_of("1T"), 1ull << 40);
    EXPECT_EQ(size_of("2P"), 2ull << 50);
    EXPECT_EQ(size_of("15E"), 15ull << 60);
    EXPECT_EQ(size_of("64KiB"), 65536u);
    EXPECT_EQ(size_of("2MiB"), 2ull << 20);
    EXPECT_EQ(size_of("512B"), 512u);
    EXPECT_EQ(size_of("18446744073709551615"), UINT64_MAX);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
    for (const char* text : {"", "G", "-1", "+1", " 1", "1 ", "1 G", "1.5G", "1e9", "0x10", "1GB",
                             "1MB", "1Gi", "1GG", "1X", "1BiB", "1G\n", "one"}) {
        EXPECT_FALSE(parse_size(text).ok()) << text;
    }
    EXPECT_FALSE(parse_size(std::string_view("1\0G", 3)).ok());
}

TEST(ParseSize, RefusesWhatDoesNotFit) {
    for (const char* text : {"18446744073709551616", "16E", "16777216T", "99999999999999999999"}) {
        const Outcome<uint64_t> size = parse_size(text);
        ASSERT_FALSE(size.ok()) << text;
        EXPECT_THAT(size.error().text, HasSubstr("too large"));
    }
}

TEST(ExactSize, IsReadBackAsTheSameNumber) {
    EXPECT_EQ(exact_size(1ull << 30), "1G");
    EXPECT_EQ(exact_size(1536ull << 20), "1536M");
    EXPECT_EQ(exact_size(4097), "4097");
    EXPECT_EQ(exact_size(0), "0");
    for (uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{4096}, uint64_t{12345} << 12,
                          uint64_t{1} << 63, UINT64_MAX, uint64_t{1} << 60}) {
        EXPECT_EQ(size_of(exact_size(size)), size);
    }
}

TEST(ReadableSize, HasAboutThreeDigits) {
    EXPECT_EQ(readable_size(0), "0 B");
    EXPECT_EQ(readable_size(1023), "1023 B");
    EXPECT_EQ(readable_size(1024), "1 KiB");
    EXPECT_EQ(readable_size(1ull << 30), "1 GiB");
    EXPECT_EQ(readable_size((1ull << 30) + (1ull << 29)), "1.5 GiB");
    EXPECT_EQ(readable_size(100ull << 20), "100 MiB");
    EXPECT_EQ(readable_size(UINT64_MAX), "16 EiB");
}

TEST(ParseDuration, ReadsUnits) {
    EXPECT_EQ(parse_duration("60s").value(), 60 * kSecond);
    EXPECT_EQ(parse_duration("60").value(), 60 * kSecond);
    EXPECT_EQ(parse_duration("500ms").value(), 500 * kMillisecond);
    EXPECT_EQ(parse_duration("2m").value(), 120 * kSecond);
    EXPECT_EQ(parse_duration("24h").value(), 86'400 * kSecond);
}

TEST(ParseDuration, RefusesNonsense) {
    for (const char* text : {"", "s", "0", "0s", "-1s", "1.5s", "25h", "1d", "9999999999999999999s",
                             "99999999999999999999ms"}) {
        EXPECT_FALSE(parse_duration(text).ok()) << text;
    }
}

}  // namespace
}  // namespace gemel::tools
