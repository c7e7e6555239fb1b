// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_connect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "tests/unit/attach/fake_server.h"

namespace gemel::tools {
namespace {

using testing::HasSubstr;

constexpr uint64_t kSize = 1u << 20;
constexpr std::chrono::seconds kPatience{60};

NbdAnnouncement announcement() {
    NbdAnnouncement made;
    for (uint8_t i = 0; i < 16; ++i) made.session[i] = i;
    made.generation = 0x0102030405060708;
    return made;
}

// What comes of a connection to a server that does `steps`.
Outcome<NbdConnection> connect_while(FakeServer& server, const std::function<void()>& steps) {
    std::thread thread(steps);
    Outcome<NbdConnection> result = connect_nbd(server.place(), announcement(), kPatience);
    thread.join();
    return result;
}

TEST(NbdConnect, LearnsTheExport) {
    FakeServer server;
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        server.greet();
        EXPECT_EQ(server.take_option(), wire::kOptGo);
        server.export_info(kSize, FakeServer::kGoodFlags | wire::kReadOnly);
        wire::InfoBlockSize sizes;
        sizes.type = wire::kInfoBlockSize;
        sizes.minimum = 512u;
        sizes.preferred = 8192u;
        sizes.maximum = 1u << 20;
        server.reply(wire::kReplyInfo, bytes_of(sizes));
        server.description_info("gemel 1234");
        server.reply(wire::kReplyAck);
    });
    ASSERT_TRUE(made.ok()) << made.error().text;
    const NbdExport& found = made.value().exported;
    EXPECT_EQ(found.description, "gemel 1234");
    EXPECT_EQ(found.size, kSize);
    EXPECT_TRUE(found.read_only() && found.can_flush() && found.can_write_zeroes());
    EXPECT_EQ(found.block_minimum, 512u);
    EXPECT_EQ(found.block_preferred, 8192u);
    EXPECT_EQ(found.payload_maximum, 1u << 20);
}

// The bytes are those that net/README.md shows.
TEST(NbdConnect, AnnouncesItselfBeforeItAsksForTheExport) {
    FakeServer server;
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        server.greet_silently();
        EXPECT_EQ(server.take_option(), 0x47454d31u);
        server.announced.push_back(server.option_data);
        server.reply(wire::kReplyAck);
        EXPECT_EQ(server.take_option(), wire::kOptGo);
        server.export_info(kSize, FakeServer::kGoodFlags);
        server.reply(wire::kReplyAck);
    });
    ASSERT_TRUE(made.ok()) << made.error().text;
    EXPECT_EQ(made.value().announced.generation, announcement().generation);
    std::vector<std::byte> expected;
    for (int i = 0; i < 16; ++i) expected.push_back(static_cast<std::byte>(i));
    for (int i = 1; i <= 8; ++i) expected.push_back(static_cast<std::byte>(i));
    EXPECT_EQ(server.announced.front(), expected);
}

TEST(NbdConnect, AServerThatHasANewerConnectionIsLeftAlone) {
    FakeServer server;
    const std::string said = "a newer connection is there already";
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        server.greet_silently();
        server.take_option();
        server.reply(wire::kErrorPolicy, std::as_bytes(std::span(said)));
        EXPECT_EQ(server.take_option(), 0u);
    });
    ASSERT_FALSE(made.ok());
    EXPECT_THAT(made.error().text, HasSubstr(said));
}

TEST(NbdConnect, EverySessionIsAnother) {
    EXPECT_NE(new_session().session, new_session().session);
    EXPECT_EQ(new_session().generation, 0u);
}

TEST(NbdConnect, FallsBackToExportNameWithOldServers) {
    FakeServer server;
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        server.greet(wire::kServerFixedNewstyle);
        EXPECT_EQ(server.take_option(), wire::kOptGo);
        server.reply(wire::kErrorUnsupported);
        EXPECT_EQ(server.take_option(), wire::kOptExportName);
        server.send(be64(kSize));
        server.send(be16(wire::kHasFlags));
        server.send_bytes(std::vector<std::byte>(124));
    });
    ASSERT_TRUE(made.ok()) << made.error().text;
    EXPECT_EQ(made.value().exported.size, kSize);
    EXPECT_FALSE(made.value().exported.can_flush());
}

TEST(NbdConnect, TellsWhatTheServerRefused) {
    FakeServer server;
    const std::string said = "no\x1b[2Jsuch thing";
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        server.greet();
        server.take_option();
        server.reply(wire::kErrorUnknownExport, std::as_bytes(std::span(said)));
    });
    ASSERT_FALSE(made.ok());
    EXPECT_THAT(made.error().text, HasSubstr("no export named 'v'"));
    EXPECT_THAT(made.error().text, HasSubstr("no?[2Jsuch thing"));
}

TEST(NbdConnect, NobodyThere) {
    FakeServer server;
    const NbdPlace place = server.place();
    server.die();
    const Outcome<NbdConnection> made = connect_nbd(place, announcement(), kPatience);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, Errc::closed);
}

TEST(NbdConnect, GivesUpOnASilentServer) {
    FakeServer server;
    const Outcome<NbdConnection> made =
        connect_nbd(server.place(), announcement(), std::chrono::milliseconds(50));
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().code, Errc::timed_out);
}

// With a name: the address of a function is another one in each run.
struct Hostility {
    const char* name;
    void (*act)(FakeServer&);
};
[[maybe_unused]] void PrintTo(const Hostility& hostility, std::ostream* out) {
    *out << hostility.name;
}

class HostileServer : public testing::TestWithParam<Hostility> {};

TEST_P(HostileServer, IsRefused) {
    FakeServer server;
    const Outcome<NbdConnection> made = connect_while(server, [&] {
        server.accept();
        GetParam().act(server);
        server.hang_up();
    });
    EXPECT_FALSE(made.ok());
}

void after_go(FakeServer& server) {
    server.greet();
    server.take_option();
}
void closes_at_once(FakeServer&) {}
void sends_noise(FakeServer& server) { server.send_bytes(std::vector<std::byte>(18)); }
void is_ancient(FakeServer& server) { server.send_greeting(0); }
void tells_no_size(FakeServer& server) {
    after_go(server);
    server.reply(wire::kReplyAck);
}
void has_no_bytes(FakeServer& server) {
    after_go(server);
    server.export_info(0, FakeServer::kGoodFlags);
    server.reply(wire::kReplyAck);
}
void is_too_large(FakeServer& server) {
    after_go(server);
    server.export_info(uint64_t{1} << 63, FakeServer::kGoodFlags);
    server.reply(wire::kReplyAck);
}
void cuts_an_info_short(FakeServer& server) {
    after_go(server);
    server.reply(wire::kReplyInfo, std::vector<std::byte>(2));
}
void has_odd_block_sizes(FakeServer& server) {
    after_go(server);
    server.export_info(kSize, FakeServer::kGoodFlags);
    wire::InfoBlockSize sizes;
    sizes.type = wire::kInfoBlockSize;
    sizes.minimum = 3u;
    sizes.preferred = 4096u;
    sizes.maximum = 4096u;
    server.reply(wire::kReplyInfo, bytes_of(sizes));
    server.reply(wire::kReplyAck);
}
void claims_a_huge_answer(FakeServer& server) {
    after_go(server);
    wire::OptionReply header;
    header.magic = wire::kOptionReplyMagic;
    header.option = wire::kOptGo;
    header.type = wire::kReplyInfo;
    header.length = 0xffffffffu;
    server.send(header);
}
void describes_at_length(FakeServer& server) {
    after_go(server);
    server.export_info(kSize, FakeServer::kGoodFlags);
    server.description_info(std::string(4097, 'x'));
}
void informs_about_an_announcement(FakeServer& server) {
    server.greet_silently();
    server.take_option();
    server.export_info(kSize, FakeServer::kGoodFlags);
}
void never_ends(FakeServer& server) {
    after_go(server);
    for (int i = 0; i < 64; ++i) server.export_info(kSize, 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileServer,
    testing::Values(Hostility{"closes_at_once", closes_at_once},
                    Hostility{"sends_noise", sends_noise}, Hostility{"is_ancient", is_ancient},
                    Hostility{"tells_no_size", tells_no_size},
                    Hostility{"has_no_bytes", has_no_bytes},
                    Hostility{"is_too_large", is_too_large},
                    Hostility{"cuts_an_info_short", cuts_an_info_short},
                    Hostility{"has_odd_block_sizes", has_odd_block_sizes},
                    Hostility{"claims_a_huge_answer", claims_a_huge_answer},
                    Hostility{"describes_at_length", describes_at_length},
                    Hostility{"informs_about_an_announcement", informs_about_an_announcement},
                    Hostility{"never_ends", never_ends}));

TEST(NbdExportDifference, SeesWhatARunningDeviceCannotBear) {
    NbdExport before;
    before.size = kSize;
    before.flags = FakeServer::kGoodFlags;
    EXPECT_EQ(difference(before, before), "");
    NbdExport now = before;
    now.size = 2 * kSize;
    EXPECT_THAT(difference(before, now), HasSubstr("size"));
    now = before;
    now.flags |= wire::kReadOnly;
    EXPECT_THAT(difference(before, now), HasSubstr("read-only"));
    now = before;
    now.flags = wire::kHasFlags | wire::kSendWriteZeroes;
    EXPECT_THAT(difference(before, now), HasSubstr("flush"));
    now.flags = wire::kHasFlags | wire::kSendFlush;
    EXPECT_THAT(difference(before, now), HasSubstr("write-zeroes"));
    now = before;
    now.flags |= wire::kSendTrim;
    EXPECT_EQ(difference(before, now), "");
    now.block_minimum = 4096;
    EXPECT_THAT(difference(before, now), HasSubstr("blocks"));
    now = before;
    now.payload_maximum = 4096;
    EXPECT_THAT(difference(before, now), HasSubstr("requests"));
}

TEST(NbdExportDifference, SeesAnotherVolumeOfTheSameSize) {
    NbdExport before;
    before.size = kSize;
    NbdExport now = before;
    now.description = "gemel b\x1b[2J";
    EXPECT_EQ(difference(before, now), "") << "nothing was known of it";
    before.description = "gemel a";
    EXPECT_EQ(difference(before, now), "it is 'gemel b?[2J' instead of 'gemel a'");
    EXPECT_EQ(difference(before, before), "");
    now.description = "";
    EXPECT_NE(difference(before, now), "");
}

}  // namespace
}  // namespace gemel::tools
