// SPDX-License-Identifier: Apache-2.0
//
// Clients at work over a volume on simulated drives, and what they feel.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "tests/sim/random.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {

// Clients that keep some requests in flight, with pauses; gathers how long each took.
class Load {
public:
    Load(VolumeWorld& world, uint32_t writes, size_t depth = 4)
        : world_(world), writes_(writes), depth_(depth), random_(5) {}

    // Until `condition` holds; returns the latencies in ascending order.
    std::vector<uint64_t> run_until(const std::function<bool()>& condition) {
        latencies_.clear();
        stopping_ = false;
        for (size_t i = 0; i < depth_; ++i) world_.store.start(client());
        EXPECT_TRUE(
            world_.store.world.run_until(condition, world_.store.world.now_ns() + 3600 * kSecond));
        stopping_ = true;
        EXPECT_TRUE(world_.store.finish());
        std::sort(latencies_.begin(), latencies_.end());
        return latencies_;
    }

private:
    Task<void> client() {
        const AlignedBytes data = allocate_zeroed(blockdev::kBlockSize);
        data.get()[0] = std::byte{1};
        const uint64_t blocks = world_.volume->geometry().size / blockdev::kBlockSize;
        Event pause(*world_.store.env);
        while (!stopping_) {
            const uint64_t at = random_.below(blocks) * blockdev::kBlockSize;
            const uint64_t began = world_.store.world.now_ns();
            Status status;
            if (random_.chance(writes_)) {
                status = co_await world_.volume->write(at, {data.get(), blockdev::kBlockSize}, {});
            } else {
                status = co_await world_.volume->read(at, {data.get(), blockdev::kBlockSize});
            }
            EXPECT_TRUE(status.ok());
            latencies_.push_back(world_.store.world.now_ns() - began);
            const uint64_t until = world_.store.world.now_ns() + random_.below(400'000);
            static_cast<void>(co_await pause.wait_until(until));
        }
    }

    VolumeWorld& world_;
    uint32_t writes_;  // Parts per million.
    size_t depth_;
    sim::Random random_;
    std::vector<uint64_t> latencies_;
    bool stopping_ = false;
};

inline uint64_t percentile(const std::vector<uint64_t>& sorted, uint64_t hundredths) {
    return sorted[(sorted.size() - 1) * hundredths / 100];
}

// A drive that does one thing after the other, 1 GB/s: whoever waits, waits for all before him.
inline void make_narrow(VolumeWorld& world) {
    for (size_t i = 0; i < world.description.members.size(); ++i) {
        sim::DriveLatency& latency = world.drive(i).latency;
        latency = {.base_ns = 60'000, .spread_ns = 40'000, .page_ns = 4'000, .slow_rate = 0};
        latency.one_at_a_time = true;
    }
}

}  // namespace gemel::mirror
