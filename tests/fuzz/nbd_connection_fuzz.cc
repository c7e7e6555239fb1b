// SPDX-License-Identifier: Apache-2.0
//
// A whole connection, handshake and requests, against a device in memory, or two side by side, each
// with one half of the input: they always end, hold nothing afterwards, and leave no request in the
// device.
#include <cstddef>
#include <cstdint>

#include "blockdev/fault_device.h"
#include "blockdev/memory_device.h"
#include "net/nbd_connection.h"
#include "tests/unit/net/still_env.h"

namespace {

using namespace gemel;
using namespace gemel::net;

Task<void> serve(NbdRegistry& registry, Stream& stream) {
    NbdConnection connection(registry, stream);
    co_await connection.run();
}

Task<void> serve_both(NbdRegistry& registry, Stream& first, Stream& second) {
    Scope scope(registry.env);
    scope.start(serve(registry, first));
    scope.start(serve(registry, second));
    co_await scope.join();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 4) return 0;
    StillEnv env;
    blockdev::MemoryDevice memory(1 << 20);
    blockdev::FaultDevice device(env, memory);
    if ((data[2] & 1) != 0) device.set_delay(kMillisecond);
    if ((data[2] & 2) != 0) {
        device.fail(blockdev::DeviceVerb::read, Error{Errc::io}, 2, data[2] >> 4);
        device.fail(blockdev::DeviceVerb::extents, Error{Errc::io}, 2, data[2] >> 4);
    }
    NbdRegistry registry(env, device, "vol", "a volume");
    const size_t step = data[0] == 0 ? SIZE_MAX : size_t{data[0]} * data[0];
    const size_t sends = data[1] == 0 ? SIZE_MAX : data[1];
    const auto input = std::as_bytes(std::span(data + 3, size - 3));
    const size_t half = (data[2] & 8) != 0 ? input.size() / 2 : input.size();
    FeedStream first(env, input.first(half), step, sends);
    FeedStream second(env, input.subspan(half), step, sends);
    env.run(serve_both(registry, first, second));
    CHECK(registry.connections().empty());
    CHECK(registry.budget.used_bytes() == 0);
    CHECK(device.inside() == 0);
    return 0;
}
