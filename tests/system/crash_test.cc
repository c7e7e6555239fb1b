// SPDX-License-Identifier: Apache-2.0
//
// gemel-crash-test: is anything lost when the server is killed? Writes through NBD, kills the
// server in the middle of it, restarts it at once, and compares every byte of the disk with its own
// record of what was acknowledged. It knows nothing of Gemel: any NBD server that promises the same
// can be tested.
#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "tests/system/crash_client.h"
#include "tests/system/crash_load.h"
#include "tests/system/crash_record.h"
#include "tests/system/crash_server.h"

namespace gemel::crash {
namespace {

constexpr std::chrono::seconds kRestartDeadline{120};
constexpr std::chrono::seconds kDrainDeadline{60};
constexpr uint64_t kReadAtOnce = 1 << 20;

struct Options {
    std::vector<std::string> command;
    std::string uri;
    std::string server_log;
    uint64_t size = 64 << 20;
    uint64_t byte_zone = 256 << 10;
    uint64_t seed = 0;
    uint64_t cycles = 20;
    double seconds_per_cycle = 1.0;
    size_t connections = 2;
    bool no_trim = false;
    bool no_stop = false;
};

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

class Test {
public:
    explicit Test(const Options& options)
        : options_(options),
          random_(options.seed),
          record_(options.size, options.byte_zone, options.seed),
          server_(options.command, options.server_log),
          load_({options.seed, !options.no_trim}, record_, client_, random_) {}

    void run() {
        server_.start();
        connect();
        if (client_.size() != options_.size) throw std::runtime_error("the disk's size is wrong");
        record_.crash();
        verify();
        for (cycle_ = 1; cycle_ <= options_.cycles; ++cycle_) run_cycle();
        client_.close();
        server_.stop();
        const LoadCounts& all = load_.counts();
        std::printf("%" PRIu64 " cycles: %" PRIu64 " writes (%" PRIu64 " MiB), %" PRIu64
                    " reads, %" PRIu64 " flushes, trims and zeroes: nothing lost, nothing torn\n",
                    options_.cycles, all.writes, all.write_bytes >> 20, all.reads, all.others);
    }

    uint64_t cycle() const { return cycle_; }

private:
    void connect() {
        const auto deadline = Clock::now() + kRestartDeadline;
        while (!client_.connect(options_.uri, options_.connections)) {
            server_.expect_alive();
            if (Clock::now() > deadline) throw std::runtime_error("the server does not serve");
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
    }

    // Every byte of the disk, twice: a mirror may answer the second time from another member.
    void verify() {
        std::vector<uint8_t> content(kReadAtOnce);
        for (int pass = 0; pass < 2; ++pass) {
            for (uint64_t offset = 0; offset < options_.size; offset += kReadAtOnce) {
                if (!client_.read_now(content, offset)) {
                    throw std::runtime_error("the server dropped a connection");
                }
                fail_if(record_.check(offset, content));
            }
            fail_if(record_.settle());
            if (pass == 0) record_.crash();
        }
    }

    static void fail_if(const std::string& wrong) {
        if (!wrong.empty()) throw std::runtime_error(wrong);
    }

    void end_server() {
        if (!options_.no_stop &&
            pick(random_, 1, 8) == 1) {  // An orderly stop under load loses nothing either.
            how_ = "stopped";
            std::thread stopping([this] {
                try {
                    server_.stop();
                } catch (const std::exception& error) { stop_failure_ = error.what(); }
            });
            try {
                load_.drain(Clock::now() + kDrainDeadline);
            } catch (...) {
                stopping.join();
                throw;
            }
            stopping.join();
            fail_if(stop_failure_);
            server_.start();
            return;
        }
        how_ = "killed";
        server_.kill_and_restart();
        // Answers that were sent before the kill count, however late we read them.
        load_.drain(Clock::now() + kDrainDeadline);
        while (pick(random_, 1, 3) == 1) {  // While it starts, or just after.
            how_ = "killed again while starting";
            std::this_thread::sleep_for(std::chrono::microseconds(pick(random_, 0, 100'000)));
            server_.kill_and_restart();
        }
    }

    void run_cycle() {
        const LoadCounts before = load_.counts();
        load_.choose_profile();
        const double length =
            options_.seconds_per_cycle * static_cast<double>(pick(random_, 10, 190)) / 100;
        const auto nanoseconds = static_cast<int64_t>(length * 1e9);
        load_.run_until(Clock::now() + std::chrono::nanoseconds(nanoseconds));
        end_server();
        const auto restart = Clock::now();
        connect();
        const double restart_seconds = seconds_since(restart);
        const size_t unanswered = record_.unacknowledged();
        record_.crash();
        verify();
        std::printf("cycle %" PRIu64 "/%" PRIu64 ": %" PRIu64 " writes (%" PRIu64
                    " MiB) at depth %zu, %s with %zu changes unanswered, served again in %.2f s: "
                    "all right\n",
                    cycle_, options_.cycles, load_.counts().writes - before.writes,
                    (load_.counts().write_bytes - before.write_bytes) >> 20, load_.queue_depth(),
                    how_, unanswered, restart_seconds);
        std::fflush(stdout);
    }

    const Options& options_;
    Random random_;
    Record record_;
    Server server_;
    Client client_;
    Load load_;
    uint64_t cycle_ = 0;
    const char* how_ = "";
    std::string stop_failure_;
};

int run(const Options& options) {
    std::printf("seed %" PRIu64 "\n", options.seed);
    std::fflush(stdout);
    Test test(options);
    try {
        test.run();
        return EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::printf("FAILED with seed %" PRIu64 " in cycle %" PRIu64 ": %s\n", options.seed,
                    test.cycle(), error.what());
        return EXIT_FAILURE;
    }
}

}  // namespace
}  // namespace gemel::crash

int main(int argc, char** argv) {
    gemel::crash::Options options;
    options.seed = std::random_device()();
    CLI::App app{"Kills an NBD server while writing and checks every byte after its restart."};
    app.add_option("command", options.command, "the server, in the foreground (after --)")
        ->required();
    app.add_option("--uri", options.uri, "where it serves a disk that is all zeroes")->required();
    app.add_option("--size", options.size, "its size")->transform(CLI::AsSizeValue(false));
    app.add_option("--cycles", options.cycles);
    app.add_option("--seed", options.seed, "random if not given");
    app.add_option("--seconds-per-cycle", options.seconds_per_cycle, "of writing, on average");
    app.add_option("--connections", options.connections);
    app.add_option("--byte-zone", options.byte_zone, "written at any byte; 0 for sectors only")
        ->transform(CLI::AsSizeValue(false));
    app.add_option("--server-log", options.server_log, "gets the server's output");
    app.add_flag("--no-trim", options.no_trim, "for servers whose trim leaves anything behind");
    app.add_flag("--no-stop", options.no_stop, "for servers that end only when their clients do");
    CLI11_PARSE(app, argc, argv);
    constexpr uint64_t kSizeMin = 1 << 20;
    if (options.size < kSizeMin || options.size % kSizeMin != 0 ||
        options.byte_zone % gemel::crash::kBlock != 0 || options.byte_zone > options.size / 2 ||
        options.connections == 0) {
        std::fprintf(stderr, "the size must be whole MiB, the byte zone whole blocks in it\n");
        return 2;
    }
    return gemel::crash::run(options);
}
