// SPDX-License-Identifier: Apache-2.0
//
// How a resync yields to clients, in virtual time.
#include "mirror/background_pace.h"
#include "tests/unit/mirror/client_load.h"

namespace gemel::mirror {
namespace {

constexpr uint64_t kVolume = 64 << 20;
constexpr uint64_t kPiece = 64 << 10;
constexpr uint32_t kWrites = 300'000;  // 70/30.
constexpr size_t kDepth = 8;

// A volume of which one member is offline and has nothing of what was written since.
class PacingTest : public ::testing::Test {
protected:
    PacingTest() : world_({.size = kVolume, .log_size = 32 << 20}) {
        EXPECT_FALSE(world_.store.run(world_.volume->take_offline(1)));
        for (uint64_t at = 0; at < kVolume; at += kPiece) {
            EXPECT_TRUE(world_.fill(at, kPiece, static_cast<uint8_t>(at / kPiece % 250 + 1)).ok());
        }
        EXPECT_TRUE(world_.drain().ok());
        world_.store.world.run_for(2 * kSecond);
        make_narrow(world_);
    }
    bool is_in_sync() { return world_.volume->report().members[1].state == "in-sync"; }
    void bring_online() { EXPECT_FALSE(world_.store.run(world_.volume->bring_online(1))); }
    uint64_t now() { return world_.store.world.now_ns(); }

    VolumeWorld world_;
};

TEST_F(PacingTest, AFullResyncKeepsTheP99OfClientsWithinTheFactorAndFinishes) {
    Load load(world_, kWrites, kDepth);
    const uint64_t until = now() + 10 * kSecond;
    const auto alone = load.run_until([&] { return now() >= until; });
    const uint64_t began = now();
    bring_online();
    const auto beside = load.run_until([&] { return is_in_sync(); });
    ASSERT_TRUE(is_in_sync());
    const uint64_t took = now() - began;
    EXPECT_LE(static_cast<double>(percentile(beside, 99)),
              PaceController::kDefaultFactor * static_cast<double>(percentile(alone, 99)));
    // At the floor alone it would take longer.
    EXPECT_LE(took, 200 * kSecond);
    RecordProperty("p99_alone_us", static_cast<int>(percentile(alone, 99) / 1000));
    RecordProperty("p99_beside_us", static_cast<int>(percentile(beside, 99) / 1000));
    RecordProperty("took_ms", static_cast<int>(took / kMillisecond));
}

TEST_F(PacingTest, WithoutClientsItGoesAsFastAsTheDrives) {
    const uint64_t began = now();
    bring_online();
    ASSERT_TRUE(world_.store.world.run_until([&] { return is_in_sync(); }, now() + 100 * kSecond));
    // One drive reads, the other one writes, and each block takes 4 us on either.
    const uint64_t drive_ns = kVolume / blockdev::kBlockSize * 4'000;
    EXPECT_LE(now() - began, 2 * drive_ns);
}

}  // namespace
}  // namespace gemel::mirror
