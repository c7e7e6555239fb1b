// SPDX-License-Identifier: Apache-2.0
#include "net/nbd_handshake.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/unit/net/nbd_test_client.h"

namespace gemel::net {
namespace {

using nbd::Option;
using nbd::OptionReply;
using Phase = NbdHandshake::Phase;

struct Answer {
    uint32_t option;
    OptionReply type;
    std::string data;
};

class NbdHandshakeTest : public ::testing::Test {
protected:
    void greet(uint32_t flags = nbd::kFixedNewstyle | nbd::kNoZeroes) {
        handshake_.output().clear();
        Bytes bytes;
        append(bytes, bytes_of(be32(flags)));
        EXPECT_EQ(handshake_.consume(bytes), 4u);
    }

    std::vector<Answer> say(Option option, Bytes data = {}) {
        const auto number = static_cast<uint32_t>(option);
        const auto answers = say_raw(NbdTestClient::option(number, std::move(data)));
        return option == Option::export_name ? std::vector<Answer>{} : answers;
    }

    std::vector<Answer> say_raw(const Bytes& bytes) {
        handshake_.output().clear();
        EXPECT_EQ(handshake_.consume(bytes), bytes.size());
        return answers();
    }

    std::vector<Answer> answers() {
        std::vector<Answer> out;
        std::span<const std::byte> rest = handshake_.output();
        while (rest.size() >= sizeof(nbd::OptionReplyHeader)) {
            nbd::OptionReplyHeader header;
            std::memcpy(&header, rest.data(), sizeof header);
            if (header.magic != nbd::kOptionReplyMagic) break;
            rest = rest.subspan(sizeof header);
            if (header.length > rest.size()) break;
            out.push_back({header.option, static_cast<OptionReply>(header.type.get()),
                           std::string(reinterpret_cast<const char*>(rest.data()), header.length)});
            rest = rest.subspan(header.length);
        }
        return out;
    }

    NbdExport exported_{"vol", "a volume", Geometry{.size = 1 << 20}};
    NbdHandshake handshake_{exported_};
};

TEST_F(NbdHandshakeTest, GreetsWithFixedNewstyle) {
    const auto& output = handshake_.output();
    ASSERT_EQ(output.size(), 18u);
    EXPECT_EQ(std::memcmp(output.data(), "NBDMAGICIHAVEOPT\0\3", 18), 0);
}

TEST_F(NbdHandshakeTest, WaitsForWholeUnits) {
    Bytes flags;
    append(flags, bytes_of(be32(nbd::kFixedNewstyle)));
    EXPECT_EQ(handshake_.consume(std::span(flags).first(3)), 0u);
    EXPECT_EQ(handshake_.consume(flags), 4u);
    const Bytes list = NbdTestClient::option(3, Bytes(10));
    for (size_t length = 0; length < list.size(); ++length) {
        EXPECT_EQ(handshake_.consume(std::span(list).first(length)), 0u);
    }
    EXPECT_EQ(handshake_.consume(list), list.size());
}

TEST_F(NbdHandshakeTest, UnknownGreetingFlagsEndIt) {
    greet(1 << 7);
    EXPECT_EQ(handshake_.phase(), Phase::over);
}

TEST_F(NbdHandshakeTest, ListsTheOneExport) {
    greet();
    const auto answers = say(Option::list);
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0].type, OptionReply::server);
    EXPECT_EQ(answers[0].data, std::string("\0\0\0\3vol", 7));
    EXPECT_EQ(answers[1].type, OptionReply::ack);
    EXPECT_EQ(say(Option::list, Bytes(1))[0].type, OptionReply::error_invalid);
}

TEST_F(NbdHandshakeTest, GoAgreesAndInfoDoesNot) {
    greet();
    const auto answers = say(Option::info, info_option_data("vol", {1, 2, 3, 77}));
    ASSERT_EQ(answers.size(), 5u);
    EXPECT_EQ(answers[0].data.size(), sizeof(nbd::InfoExport));
    EXPECT_EQ(answers[1].data, std::string("\0\1vol", 5));
    EXPECT_EQ(answers[2].data, std::string("\0\2a volume", 10));
    EXPECT_EQ(answers[3].data, std::string("\0\3"
                                           "\0\0\0\1"
                                           "\0\0\x10\0"
                                           "\2\0\0\0",
                                           14));
    EXPECT_EQ(answers[4].type, OptionReply::ack);
    EXPECT_EQ(handshake_.phase(), Phase::options);
    EXPECT_EQ(say(Option::go, info_option_data("", {})).size(), 2u);
    EXPECT_EQ(handshake_.phase(), Phase::agreed);
    EXPECT_EQ(handshake_.terms().size, uint64_t{1} << 20);
    EXPECT_FALSE(handshake_.terms().structured_replies);
}

TEST_F(NbdHandshakeTest, AnotherNameIsUnknownWithAText) {
    greet();
    for (Option option : {Option::info, Option::go}) {
        const auto answers = say(option, info_option_data("other", {}));
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_EQ(answers[0].type, OptionReply::error_unknown);
        EXPECT_NE(answers[0].data.find("\"vol\""), std::string::npos);
    }
    EXPECT_EQ(handshake_.phase(), Phase::options);
}

TEST_F(NbdHandshakeTest, ExportNameAnswersOldClients) {
    greet(nbd::kFixedNewstyle);
    const Bytes name = {std::byte{'v'}, std::byte{'o'}, std::byte{'l'}};
    say(Option::export_name, name);
    EXPECT_EQ(handshake_.output().size(), 10u + 124u);
    EXPECT_EQ(handshake_.phase(), Phase::agreed);
}

TEST_F(NbdHandshakeTest, ExportNameWithoutZeroesIsShort) {
    greet();
    say(Option::export_name);
    EXPECT_EQ(handshake_.output().size(), 10u);
}

TEST_F(NbdHandshakeTest, ExportNameCanOnlyHangUpOnStrangers) {
    greet();
    say(Option::export_name, Bytes(5, std::byte{'x'}));
    EXPECT_EQ(handshake_.phase(), Phase::over);
    EXPECT_TRUE(handshake_.output().empty());
}

TEST_F(NbdHandshakeTest, AbortIsAcknowledged) {
    greet();
    EXPECT_EQ(say(Option::abort)[0].type, OptionReply::ack);
    EXPECT_EQ(handshake_.phase(), Phase::over);
    EXPECT_STREQ(handshake_.reason(), "");
}

TEST_F(NbdHandshakeTest, UnknownOptionsAreUnsupportedNotFatal) {
    greet();
    for (uint32_t option : {4u, 5u, 11u, 12345u}) {
        const auto answers = say_raw(NbdTestClient::option(option, Bytes(100)));
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_EQ(answers[0].option, option);
        EXPECT_EQ(answers[0].type, OptionReply::error_unsupported);
    }
    EXPECT_EQ(handshake_.phase(), Phase::options);
}

// The bytes are those that net/README.md shows.
TEST_F(NbdHandshakeTest, AnAnnouncementWaitsForItsAnswer) {
    greet();
    Bytes data;
    for (int i = 0; i < 16; ++i) data.push_back(static_cast<std::byte>(i));
    for (int i = 1; i <= 8; ++i) data.push_back(static_cast<std::byte>(i));
    EXPECT_TRUE(say_raw(NbdTestClient::option(0x47454d31, data)).empty());
    EXPECT_EQ(handshake_.phase(), Phase::announced);
    ASSERT_TRUE(handshake_.announcement().has_value());
    EXPECT_EQ(handshake_.announcement()->session[15], 15);
    EXPECT_EQ(handshake_.announcement()->generation, 0x0102030405060708u);
    EXPECT_EQ(handshake_.consume(NbdTestClient::option(3)), 0u);
    handshake_.answer_announcement(true);
    EXPECT_EQ(answers()[0].option, 0x47454d31u);
    EXPECT_EQ(answers()[0].type, OptionReply::ack);
    EXPECT_EQ(handshake_.phase(), Phase::options);
    EXPECT_EQ(say(Option::announce, data)[0].type, OptionReply::error_invalid) << "once is enough";
}

TEST_F(NbdHandshakeTest, ASupersededConnectionIsSentAway) {
    greet();
    say(Option::announce, announcement_data(1, 1));
    handshake_.answer_announcement(false);
    EXPECT_EQ(answers()[0].type, OptionReply::error_policy);
    EXPECT_EQ(handshake_.phase(), Phase::over);
}

TEST_F(NbdHandshakeTest, OnlyAWholeAnnouncementCounts) {
    greet();
    for (size_t length : {0u, 23u, 25u}) {
        EXPECT_EQ(say(Option::announce, Bytes(length))[0].type, OptionReply::error_invalid);
    }
    EXPECT_FALSE(handshake_.announcement().has_value());
}

TEST(NbdAnnouncement, SupersedesOlderOnesOfItsSession) {
    NbdAnnouncement older;
    older.generation = 7;
    NbdAnnouncement newer = older;
    EXPECT_FALSE(newer.supersedes(older)) << "connections of one generation stand side by side";
    newer.generation = 8;
    EXPECT_TRUE(newer.supersedes(older));
    EXPECT_FALSE(older.supersedes(newer));
    newer.session[3] = 1;
    EXPECT_FALSE(newer.supersedes(older));
}

TEST_F(NbdHandshakeTest, MetaContextsNeedStructuredReplies) {
    greet();
    const Bytes query = meta_option_data("vol", {"base:allocation"});
    EXPECT_EQ(say(Option::set_meta_context, query)[0].type, OptionReply::error_invalid);
    EXPECT_EQ(say(Option::structured_reply)[0].type, OptionReply::ack);
    const auto answers = say(Option::set_meta_context, query);
    ASSERT_EQ(answers.size(), 2u);
    EXPECT_EQ(answers[0].type, OptionReply::meta_context);
    EXPECT_EQ(answers[0].data, std::string("\0\0\0\1base:allocation", 19));
    say(Option::go, info_option_data("vol", {}));
    EXPECT_TRUE(handshake_.terms().block_status);
}

TEST_F(NbdHandshakeTest, ListingContextsKnowsWildcardsSettingDoesNot) {
    greet();
    say(Option::structured_reply);
    EXPECT_EQ(say(Option::list_meta_context, meta_option_data("", {})).size(), 2u);
    EXPECT_EQ(say(Option::list_meta_context, meta_option_data("", {"base:"})).size(), 2u);
    EXPECT_EQ(say(Option::list_meta_context, meta_option_data("", {"qemu:"})).size(), 1u);
    EXPECT_EQ(say(Option::set_meta_context, meta_option_data("", {"base:"})).size(), 1u);
    EXPECT_EQ(say(Option::set_meta_context, meta_option_data("", {})).size(), 1u);
    say(Option::go, info_option_data("", {}));
    EXPECT_FALSE(handshake_.terms().block_status);
}

TEST_F(NbdHandshakeTest, AContextHoldsForTheNameItWasSetFor) {
    greet();
    say(Option::structured_reply);
    say(Option::set_meta_context, meta_option_data("vol", {"base:allocation"}));
    say(Option::go, info_option_data("", {}));
    EXPECT_FALSE(handshake_.terms().block_status);
}

TEST_F(NbdHandshakeTest, AFailedSettingForgetsTheOneBefore) {
    greet();
    say(Option::structured_reply);
    say(Option::set_meta_context, meta_option_data("vol", {"base:allocation"}));
    EXPECT_EQ(say(Option::set_meta_context, Bytes(3))[0].type, OptionReply::error_invalid);
    say(Option::go, info_option_data("vol", {}));
    EXPECT_FALSE(handshake_.terms().block_status);
}

TEST_F(NbdHandshakeTest, EveryTruncatedPayloadIsInvalid) {
    greet();
    say(Option::structured_reply);
    const Bytes info = info_option_data("vol", {3});
    for (size_t length = 0; length < info.size(); ++length) {
        const auto answers = say(Option::info, Bytes(info.begin(), info.begin() + length));
        EXPECT_EQ(answers[0].type, OptionReply::error_invalid) << length;
    }
    const Bytes meta = meta_option_data("vol", {"base:allocation"});
    for (size_t length = 0; length < meta.size(); ++length) {
        // One handshake takes a limited number of options.
        EXPECT_FALSE(parse_meta_query(std::span(meta).first(length)).ok()) << length;
    }
    Bytes longer = info;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(parse_info_request(longer).ok());
}

TEST_F(NbdHandshakeTest, GarbageEndsIt) {
    greet();
    Bytes garbage(16, std::byte{0xee});
    EXPECT_EQ(handshake_.consume(garbage), 16u);
    EXPECT_EQ(handshake_.phase(), Phase::over);
    EXPECT_STRNE(handshake_.reason(), "");
    EXPECT_EQ(handshake_.consume(garbage), 0u);
}

TEST_F(NbdHandshakeTest, AnOversizeOptionIsRefusedBeforeItArrives) {
    greet();
    Bytes option = NbdTestClient::option(3);
    const be32 length = NbdHandshake::kOptionBytesMax + 1;
    std::memcpy(option.data() + 12, &length, 4);
    EXPECT_EQ(handshake_.consume(option), 16u);
    EXPECT_EQ(handshake_.phase(), Phase::over);
    EXPECT_EQ(answers()[0].type, OptionReply::error_too_big);
}

TEST_F(NbdHandshakeTest, EndlessHagglingEndsIt) {
    greet();
    for (size_t i = 0; i < NbdHandshake::kOptionsMax; ++i) {
        EXPECT_EQ(say(Option::list).size(), 2u);
    }
    say(Option::list);
    EXPECT_EQ(handshake_.phase(), Phase::over);
}

TEST_F(NbdHandshakeTest, FlagsSayWhatTheExportCan) {
    exported_.geometry.read_only = true;
    NbdHandshake read_only(exported_);
    Bytes bytes;
    append(bytes, bytes_of(be32(nbd::kFixedNewstyle | nbd::kNoZeroes)));
    read_only.consume(bytes);
    read_only.output().clear();
    read_only.consume(NbdTestClient::option(1));
    nbd::ExportNameReply reply;
    ASSERT_EQ(read_only.output().size(), sizeof reply);
    std::memcpy(&reply, read_only.output().data(), sizeof reply);
    EXPECT_EQ(reply.flags.get(), nbd::kHasFlags | nbd::kReadOnly | nbd::kSendFlush | nbd::kSendFua |
                                     nbd::kCanMultiConn | nbd::kSendCache);
}

}  // namespace
}  // namespace gemel::net
