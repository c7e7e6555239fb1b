// SPDX-License-Identifier: Apache-2.0
//
// A real reactor, a folder for sockets, and a test as one coroutine. Nothing here measures time:
// deadlines only keep a broken test from hanging.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "blockdev/uring_env.h"

namespace gemel {

inline constexpr uint64_t kTestPatienceNs = 60 * kSecond;

class NetTest : public ::testing::Test {
protected:
    NetTest() {
        auto made = UringEnv::create({.log_sink = [](LogLevel, std::string_view) {}});
        if (made.ok()) env_ = std::move(made).value();
        char folder[] = "/tmp/gemel-net-XXXXXX";
        if (mkdtemp(folder) != nullptr) folder_ = folder;
    }
    ~NetTest() override {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    void SetUp() override {
        if (env_ == nullptr) GTEST_SKIP() << "this kernel has no io_uring for us";
        ASSERT_FALSE(folder_.empty());
    }

    UringEnv& env() { return *env_; }
    const std::string& folder() const { return folder_; }
    Address unix_address(const std::string& name = "s") const {
        return Address{.unix_path = folder_ + "/" + name, .host = "", .port = 0};
    }
    std::unique_ptr<Listener> listen(const Address& address) {
        auto listener = env().listen(address);
        EXPECT_TRUE(listener.ok()) << (listener.ok() ? "" : listener.error().text);
        return listener.ok() ? std::move(listener).value() : nullptr;
    }

private:
    std::unique_ptr<UringEnv> env_;
    std::string folder_;
};

}  // namespace gemel
