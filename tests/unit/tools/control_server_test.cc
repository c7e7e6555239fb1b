// SPDX-License-Identifier: Apache-2.0
//
// The control server on a real socket: clients that behave, and clients that do not.
#include "tools/gemel/control_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "blockdev/uring_env.h"
#include "tests/unit/tools/example_status.h"
#include "tools/config/file_descriptor.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/control_protocol.h"

namespace gemel::tools {
namespace {

using testing::HasSubstr;

// Serves in the test's thread while `clients` run in another one.
class ControlServerTest : public testing::Test {
protected:
    void SetUp() override {
        path_ = std::filesystem::temp_directory_path() / ("gemel_ctl_" + std::to_string(getpid()));
        Outcome<std::unique_ptr<UringEnv>> env = UringEnv::create({});
        if (!env.ok()) GTEST_SKIP() << env.error().text;
        env_ = std::move(env).value();
    }

    void serve_while(const std::function<void()>& clients) {
        std::atomic<bool> finished = false;
        // Started once the socket is there.
        std::optional<std::thread> thread;
        const std::function<void()> body = [&] {
            clients();
            finished = true;
        };
        env_->run(serve_until(finished, thread, body));
        thread->join();
        struct stat status{};
        EXPECT_NE(stat(path_.c_str(), &status), 0) << "the socket is left behind";
    }

    FileDescriptor connect_raw() const {
        FileDescriptor client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof address.sun_path - 1);
        const auto* generic = reinterpret_cast<const sockaddr*>(&address);
        EXPECT_EQ(connect(client.get(), generic, sizeof address), 0);
        return client;
    }

    // Everything until the server hangs up.
    static std::string read_all(const FileDescriptor& client) {
        std::string out;
        char buffer[4096];
        for (ssize_t n = 0; (n = recv(client.get(), buffer, sizeof buffer, 0)) > 0;) {
            out.append(buffer, static_cast<size_t>(n));
        }
        return out;
    }

    static void send_text(const FileDescriptor& client, std::string_view text) {
        EXPECT_EQ(send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }

    std::string path_;
    std::unique_ptr<UringEnv> env_;

private:
    Task<void> serve_until(std::atomic<bool>& finished, std::optional<std::thread>& thread,
                           const std::function<void()>& body) {
        auto server = ControlServer::start(
            *env_, path_, {.status = example_status, .scrub = [] {}, .member = nullptr});
        CHECK(server.ok());
        thread.emplace(body);
        while (!finished) co_await sleep_for(*env_, kMillisecond);
        co_await server.value()->stop();
    }
};

TEST_F(ControlServerTest, AnswersStatus) {
    serve_while([this] {
        const Outcome<VolumeStatus> status = ask_status(path_);
        ASSERT_TRUE(status.ok()) << status.error().text;
        EXPECT_EQ(status.value().report.name, "vol");
    });
}

TEST_F(ControlServerTest, AnswersSeveralLinesOfOneClient) {
    serve_while([this] {
        const FileDescriptor client = connect_raw();
        const std::string request = render_control_request({ControlCommand::status});
        send_text(client, request + request + "garbage\n" + request);
        shutdown(client.get(), SHUT_WR);
        const std::string answers = read_all(client);
        EXPECT_EQ(std::count(answers.begin(), answers.end(), '\n'), 4);
        EXPECT_THAT(answers, HasSubstr("\"error\""));
    });
}

TEST_F(ControlServerTest, HangsUpOnALineWithoutEnd) {
    serve_while([this] {
        const FileDescriptor client = connect_raw();
        send_text(client, std::string(kControlRequestSizeMax, 'x'));
        EXPECT_THAT(read_all(client), HasSubstr("too long"));
        EXPECT_TRUE(ask_status(path_).ok());
    });
}

TEST_F(ControlServerTest, OutlivesClientsThatVanish) {
    serve_while([this] {
        for (int i = 0; i < 50; ++i) {
            const FileDescriptor client = connect_raw();
            if (i % 3 == 1) send_text(client, "{\"command\"");
            if (i % 3 == 2) send_text(client, render_control_request({ControlCommand::status}));
        }
        EXPECT_TRUE(ask_status(path_).ok());
    });
}

TEST_F(ControlServerTest, TakesABoundedNumberOfClients) {
    serve_while([this] {
        std::vector<FileDescriptor> silent;
        for (size_t i = 0; i < kControlClientsMax; ++i) {
            silent.push_back(connect_raw());
            // An answer proves that this one was accepted.
            send_text(silent.back(), render_control_request({ControlCommand::status}));
            char first = 0;
            EXPECT_EQ(recv(silent.back().get(), &first, 1, 0), 1);
        }
        const FileDescriptor refused = connect_raw();
        EXPECT_EQ(read_all(refused), "");
        silent.clear();
        // Those who left make room.
        bool served = false;
        for (int i = 0; i < 1000 && !served; ++i) served = ask_status(path_).ok();
        EXPECT_TRUE(served);
    });
}

TEST_F(ControlServerTest, EndsASilentClientAtItsDeadline) {
    serve_while([this] {
        const FileDescriptor client = connect_raw();
        EXPECT_EQ(read_all(client), "");
    });
}

TEST_F(ControlServerTest, StopsWhileClientsAreConnected) {
    std::optional<FileDescriptor> client;
    serve_while([this, &client] { client.emplace(connect_raw()); });
    EXPECT_EQ(read_all(*client), "");
}

TEST(ControlClient, TellsAMissingServerFromASilentOne) {
    const std::string path =
        std::filesystem::temp_directory_path() / ("gemel_none_" + std::to_string(getpid()));
    const Outcome<VolumeStatus> missing = ask_status(path);
    ASSERT_FALSE(missing.ok());
    EXPECT_TRUE(means_no_server(missing.error()));

    const FileDescriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(means_no_server(ask_status(path).error())) << "a socket nobody listens on";
    ASSERT_EQ(listen(listener.get(), 1), 0);
    const Outcome<VolumeStatus> silent = ask_status(path, 50);
    ASSERT_FALSE(silent.ok());
    EXPECT_EQ(silent.error().code, Errc::timed_out);
    EXPECT_FALSE(means_no_server(silent.error()));
    unlink(path.c_str());
    EXPECT_FALSE(ask_status(std::string(200, 'x')).ok());
}

}  // namespace
}  // namespace gemel::tools
