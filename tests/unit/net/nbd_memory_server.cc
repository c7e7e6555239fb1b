// SPDX-License-Identifier: Apache-2.0
//
// Serves a block device in memory over NBD: for tests with real clients, and to measure what the
// protocol alone costs.
//     nbd_memory_server ADDRESS SIZE_MIB [NAME]
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "blockdev/memory_device.h"
#include "blockdev/uring_env.h"
#include "net/nbd_server.h"

namespace {

using namespace gemel;

// Not written where it is awaited: GCC 12 cannot keep an initializer list across a suspension.
constexpr std::initializer_list<int> kStopSignals = {SIGTERM, SIGINT};

Task<void> serve_until_signal(UringEnv& env, net::NbdServer& server) {
    (void)co_await env.next_signal(kStopSignals);
    co_await server.stop(env.now_ns() + 5 * kSecond);
}

int fail(const std::string& text) {
    std::fprintf(stderr, "nbd_memory_server: %s\n", text.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return fail("usage: nbd_memory_server ADDRESS SIZE_MIB [NAME]");
    const uint64_t size = std::strtoull(argv[2], nullptr, 10) << 20;
    const auto address = Address::parse(argv[1]);
    if (!address.ok()) return fail(address.error().text);
    if (size == 0) return fail("the size is not a number of MiB");

    UringEnv::block_signals(kStopSignals);
    auto env = UringEnv::create({});
    if (!env.ok()) return fail(env.error().text);
    auto listener = env.value()->listen(address.value());
    if (!listener.ok()) return fail(listener.error().text);

    blockdev::MemoryDevice device(size);
    net::NbdServer server(*env.value(), device, argc > 3 ? argv[3] : "memory", "memory");
    std::printf("%s\n", listener.value()->address().text().c_str());
    std::fflush(stdout);
    server.start(std::move(listener).value());
    env.value()->run(serve_until_signal(*env.value(), server));
    const net::NbdCounters& counters = server.counters();
    std::printf("connections %llu requests %llu failed %llu\n",
                static_cast<unsigned long long>(counters.connections_total),
                static_cast<unsigned long long>(counters.requests),
                static_cast<unsigned long long>(counters.failed));
    return 0;
}
