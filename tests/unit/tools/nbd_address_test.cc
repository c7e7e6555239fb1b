// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/nbd_address.h"

#include <gtest/gtest.h>

namespace gemel::tools {
namespace {

TEST(NbdUri, NamesTheSocketEscaped) {
    EXPECT_EQ(nbd_uri("unix:/srv/vol.nbd.sock", "vol"), "nbd+unix:///vol?socket=/srv/vol.nbd.sock");
    EXPECT_EQ(nbd_uri("unix:/a b/&c%\xc3\xa4", "vol"),
              "nbd+unix:///vol?socket=/a%20b/%26c%25%C3%A4");
}

TEST(NbdUri, NamesHostAndPort) {
    EXPECT_EQ(nbd_uri("127.0.0.1:10809", "vol"), "nbd://127.0.0.1:10809/vol");
    EXPECT_EQ(nbd_uri("[::1]:10809", "vol"), "nbd://[::1]:10809/vol");
}

TEST(NbdUri, ReachesAServerOnEveryAddressByLoopback) {
    EXPECT_EQ(nbd_uri("0.0.0.0:1", "v"), "nbd://127.0.0.1:1/v");
    EXPECT_EQ(nbd_uri("[::]:1", "v"), "nbd://[::1]:1/v");
}

TEST(PreferredAddress, IsAUnixSocketIfThereIsOne) {
    EXPECT_EQ(preferred_address({"127.0.0.1:1", "unix:/x"}), "unix:/x");
    EXPECT_EQ(preferred_address({"127.0.0.1:1", "127.0.0.1:2"}), "127.0.0.1:1");
}

}  // namespace
}  // namespace gemel::tools
