// SPDX-License-Identifier: Apache-2.0
//
// Configurations, and the witness file.
#include "mirror/configuration.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {
namespace {

using blockdev::ConfigurationRecord;

// --- Configurations

TEST(Configuration, TheFirstOneListsTheMembers) {
    blockdev::StoreWorld world;
    const Uuid members[] = {blockdev::fixed_uuid(1), blockdev::fixed_uuid(40)};
    const ConfigurationRecord first = first_configuration(*world.env, members, 8 << 20);
    EXPECT_EQ(blockdev::configuration_fault(first), nullptr);
    EXPECT_EQ(first.epoch.number, 1u);
    EXPECT_EQ(first.epoch.first_sequence, 1u);
    EXPECT_EQ(first.member_count, 2u);
    EXPECT_EQ(first.volume_size, 8u << 20);
    EXPECT_EQ(first.members[1].uuid, members[1]);
}

TEST(Configuration, EachEpochHasAnIdOfItsOwn) {
    blockdev::StoreWorld world;
    const ConfigurationRecord first = blockdev::fixed_configuration(2);
    const ConfigurationRecord second = next_epoch(*world.env, first, 50, 1234);
    const ConfigurationRecord other = next_epoch(*world.env, first, 50, 1234);
    EXPECT_EQ(second.epoch.number, 2u);
    EXPECT_EQ(second.epoch.first_sequence, 50u);
    EXPECT_EQ(second.epoch.previous_hash, 1234u);
    EXPECT_EQ(second.member_count, 2u);
    EXPECT_NE(second.epoch.id, first.epoch.id);
    EXPECT_NE(second.epoch.id, other.epoch.id);
    EXPECT_EQ(blockdev::configuration_fault(second), nullptr);
}

// --- Witness

class WitnessTest : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            write_witness(*world_.env, "/w", volume_, blockdev::fixed_configuration(2)).ok());
    }
    std::vector<std::byte>& bytes() { return world_.world.files()["/w"]; }
    Outcome<WitnessReading> read() { return read_witness(*world_.env, "/w", volume_); }
    void expect_no_witness(const std::string& problem) {
        const auto result = read();
        ASSERT_TRUE(result.ok()) << result.error().text;
        EXPECT_FALSE(result.value().configuration.has_value());
        EXPECT_EQ(result.value().problem, problem);
    }
    void reseal() {
        const le64 sum = ecc::hash64(std::span(bytes()).subspan(8));
        std::memcpy(bytes().data(), &sum, sizeof sum);
    }
    void expect_refused(Errc code, const std::string& text) {
        const auto result = read();
        ASSERT_FALSE(result.ok());
        EXPECT_EQ(result.error().code, code) << result.error().text;
        EXPECT_NE(result.error().text.find(text), std::string::npos) << result.error().text;
    }

    blockdev::StoreWorld world_;
    const Uuid volume_ = blockdev::fixed_uuid(0xa0);
};

TEST_F(WitnessTest, GoldenBytes) {
    ASSERT_EQ(bytes().size(), 480u);
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(8, 24)),
              "47574954"
              "01000000"                            // GWIT, version
              "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");  // volume
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(32, 64)),
              "0100000000000000"
              "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
              "0100000000000000"
              "0000000000000000"
              "0100000000000000"
              "00000000"
              "02000000"
              "0000800000000000");
    EXPECT_EQ(blockdev::hex(std::span(bytes()).subspan(96, 24)),
              "101112131415161718191a1b1c1d1e1f"
              "0000000000000000");
    EXPECT_EQ(ecc::hash64(bytes()), 0x4524492703d3081b);
}

TEST_F(WitnessTest, GivesBackWhatWasWritten) {
    const auto result = read();
    ASSERT_TRUE(result.ok() && result.value().configuration.has_value());
    EXPECT_EQ(
        std::memcmp(&*result.value().configuration, &bytes()[32], sizeof(ConfigurationRecord)), 0);
}

TEST_F(WitnessTest, NoneIsNoProblem) {
    world_.world.files().clear();
    expect_no_witness("lost");
}

TEST_F(WitnessTest, WithAnyFlippedBitItIsNone) {
    for (size_t bit = 0; bit < 472 * 8; ++bit) {
        bytes()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        expect_no_witness("damaged");
        ASSERT_FALSE(HasFailure()) << bit;
        bytes()[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
    EXPECT_TRUE(read().value().configuration.has_value());
}

TEST_F(WitnessTest, WithAnyOtherLengthItIsNone) {
    const std::vector<std::byte> good = bytes();
    for (size_t length = 0; length < good.size(); length += 13) {
        bytes().assign(good.begin(), good.begin() + static_cast<ptrdiff_t>(length));
        expect_no_witness("damaged");
    }
    bytes() = good;
    bytes().push_back(std::byte{0});
    expect_no_witness("damaged");
}

TEST_F(WitnessTest, ThatOfAnotherVolumeIsRefused) {
    ASSERT_TRUE(write_witness(*world_.env, "/w", blockdev::fixed_uuid(0xb0),
                              blockdev::fixed_configuration(2))
                    .ok());
    expect_refused(Errc::invalid, "another volume");
}

TEST_F(WitnessTest, ANewerFormatIsRefused) {
    bytes()[12] = std::byte{2};
    reseal();
    expect_refused(Errc::unsupported, "format 2");
}

TEST_F(WitnessTest, WithAnImpossibleConfigurationItIsNone) {
    bytes()[32 + 52] = std::byte{17};
    reseal();
    expect_no_witness("damaged");
}

}  // namespace
}  // namespace gemel::mirror
