// SPDX-License-Identifier: Apache-2.0
#include "tools/attach/nbd_uri.h"

#include <gtest/gtest.h>

#include <string>

namespace gemel::tools {
namespace {

TEST(NbdUri, UnixSocket) {
    const Outcome<NbdUri> uri = parse_nbd_uri("nbd+unix:///my%20vol?socket=/run/a%3Fb.sock");
    ASSERT_TRUE(uri.ok());
    EXPECT_EQ(uri.value().export_name, "my vol");
    EXPECT_EQ(uri.value().socket_path, "/run/a?b.sock");
}

TEST(NbdUri, RelativeSocketPathBecomesAbsolute) {
    const Outcome<NbdUri> uri = parse_nbd_uri("nbd+unix:///v?socket=./x/../v.sock");
    ASSERT_TRUE(uri.ok());
    EXPECT_EQ(uri.value().socket_path.front(), '/');
    EXPECT_TRUE(uri.value().socket_path.ends_with("/v.sock"));
    EXPECT_EQ(uri.value().socket_path.find(".."), std::string::npos);
}

TEST(NbdUri, TcpWithDefaults) {
    const Outcome<NbdUri> uri = parse_nbd_uri("nbd:///v");
    ASSERT_TRUE(uri.ok());
    EXPECT_EQ(uri.value().host, "localhost");
    EXPECT_EQ(uri.value().port, "10809");
}

TEST(NbdUri, TcpAddresses) {
    const Outcome<NbdUri> named = parse_nbd_uri("nbd://example.org:7/v");
    ASSERT_TRUE(named.ok());
    EXPECT_EQ(named.value().canonical(), "nbd://example.org:7/v");
    const Outcome<NbdUri> six = parse_nbd_uri("nbd://[::1]:7/");
    ASSERT_TRUE(six.ok());
    EXPECT_EQ(six.value().host, "::1");
    EXPECT_EQ(six.value().export_name, "");
}

TEST(NbdUri, EqualPlacesHaveEqualCanonicalForms) {
    const Outcome<NbdUri> a = parse_nbd_uri("nbd+unix:///v?socket=/run/./v.sock");
    const Outcome<NbdUri> b = parse_nbd_uri("nbd+unix:///%76?socket=/run/v.sock");
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_EQ(a.value().canonical(), b.value().canonical());
}

class BadNbdUri : public testing::TestWithParam<const char*> {};

TEST_P(BadNbdUri, IsRefusedWithTheReason) {
    const Outcome<NbdUri> uri = parse_nbd_uri(GetParam());
    ASSERT_FALSE(uri.ok());
    EXPECT_TRUE(uri.error().text.starts_with("bad NBD URI")) << uri.error().text;
}

INSTANTIATE_TEST_SUITE_P(All, BadNbdUri,
                         testing::Values("", "v", "/run/v.sock", "http://h/v", "nbds://h/v",
                                         "nbd+unix:///v", "nbd+unix://h/v?socket=/s",
                                         "nbd+unix:///v?socket=", "nbd+unix:///v?socket=/s&x=1",
                                         "nbd://h:0/v", "nbd://h:65536/v", "nbd://h:12x/v",
                                         "nbd://h:999999/v", "nbd://[::1/v", "nbd://[::1]x/v",
                                         "nbd://h/%", "nbd://h/%4", "nbd://h/%zz", "nbd://h/%00",
                                         "nbd://me@h/v", "nbd://h/v?socket=/s", "nbd://h/a\nb"));

TEST(NbdUri, SocketPathsHaveTheKernelsLimit) {
    const std::string fits = "/" + std::string(106, 'x');
    EXPECT_TRUE(parse_nbd_uri("nbd+unix:///v?socket=" + fits).ok());
    EXPECT_FALSE(parse_nbd_uri("nbd+unix:///v?socket=" + fits + "x").ok());
}

TEST(NbdUri, AnUnknownHostIsTold) {
    NbdUri uri;
    uri.host = "no-such-host.invalid";
    uri.port = "1";
    EXPECT_FALSE(resolve(uri).ok());
}

}  // namespace
}  // namespace gemel::tools
