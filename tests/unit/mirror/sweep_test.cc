// SPDX-License-Identifier: Apache-2.0
//
// Damages one place of one member after the other, in every structure, in every state that a volume
// can be found in, and opens it each time: all data must be right, from whichever member it comes.
#include <gtest/gtest.h>

#include <functional>

#include "tests/sim/random.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;
using blockdev::Layout;

constexpr uint64_t kSize = 5 << 19;
constexpr uint64_t kSector = 512;

enum class Found { closed, killed_with_a_full_log, killed_in_a_checkpoint, power_lost };
enum class Kind { flip, zero, garbage };

struct Region {
    const char* name;
    uint64_t begin;
    uint64_t end;
    uint64_t step;  // Every so many sectors one. The twelve runs begin at different ones.
};

std::vector<Region> regions_of(const Layout& layout, uint64_t log_begin, uint64_t log_end) {
    return {
        {"superblock A", 0, blockdev::kSuperblockSize, 1},
        {"owner", blockdev::kOwnerOffset, blockdev::kOwnerOffset + kBlockSize, 1},
        {"log", blockdev::kLogOffset + log_begin, blockdev::kLogOffset + log_end, 5},
        {"index", layout.root_offset, layout.checksum_offset, 1},
        {"checksums", layout.checksum_offset, layout.checksum_page_offset(2, 0), 1},
        {"superblock B", layout.superblock_b_offset,
         layout.superblock_b_offset + blockdev::kSuperblockSize, 1},
        {"home", layout.home_offset, layout.home_offset + kSize, 11},
    };
}

// A volume in a state, to which it comes back after each damage.
class Sweep {
public:
    explicit Sweep(Found found) {
        world_.open();
        sim::Random random(7);
        content_.assign(kSize, std::byte{0});
        write_some(random, 300);
        if (found == Found::closed) {
            EXPECT_TRUE(world_.close().ok());
        } else {
            EXPECT_TRUE(world_.drain().ok());
            write_some(random, 150);
            EXPECT_TRUE(world_.flush().ok());
            write_some(random, 40);
            if (found == Found::killed_in_a_checkpoint) begin_checkpoint();
            if (found == Found::power_lost) {
                EXPECT_TRUE(world_.flush().ok());
                world_.lose_power();
            } else {
                world_.kill();
            }
        }
        for (size_t i = 0; i < 2; ++i) images_.push_back(world_.drive(i).platter().image());
        files_ = world_.store.world.files();
        blockdev::Superblock superblock;
        const auto bytes = world_.store.platter("/m0", 0, blockdev::kSuperblockSize);
        std::memcpy(static_cast<void*>(&superblock), bytes.data(), bytes.size());
        layout_ = blockdev::from_record(superblock.geometry);
    }

    void run(Kind kind, uint64_t seed) {
        sim::Random random(seed);
        for (const Region& region : regions_of(layout_, 0, 2 << 20)) {
            const uint64_t first = region.begin + seed % region.step * kSector;
            for (uint64_t at = first; at < region.end; at += region.step * kSector) {
                const size_t member = random.below(2);
                damage(member, at, kind, random);
                check(std::string(region.name) + " of member " + std::to_string(member) + " at " +
                      std::to_string(at));
                restore();
                if (::testing::Test::HasFailure()) return;
            }
        }
    }

private:
    void write_some(sim::Random& random, int writes) {
        for (int i = 0; i < writes; ++i) {
            const uint64_t length = kSector * (1 + random.below(random.chance(100'000) ? 128 : 24));
            // The upper half stays never written but for a few blocks.
            const uint64_t limit = random.chance(50'000) ? kSize : kSize / 2;
            const uint64_t offset = random.below((limit - length) / kSector) * kSector;
            const auto value = static_cast<uint8_t>(1 + random.below(255));
            std::vector<std::byte> data(length);
            for (size_t j = 0; j < length; ++j) data[j] = static_cast<std::byte>(value + j / 64);
            std::copy(data.begin(), data.end(), content_.begin() + static_cast<ptrdiff_t>(offset));
            ASSERT_TRUE(world_.write(offset, data).ok());
        }
        const uint64_t hole = 128 * kBlockSize;
        ASSERT_TRUE(world_.trim(hole, 16 * kBlockSize).ok());
        std::fill_n(content_.begin() + static_cast<ptrdiff_t>(hole), 16 * kBlockSize, std::byte{0});
    }
    // Until home and some pages have been written, and the superblock has not.
    void begin_checkpoint() {
        size_t writes = 0;
        sim::SimWorld& world = world_.store.world;
        sim::SimEnv* env = world_.store.env;
        world.watch([&writes, &world, env](const sim::Moment& moment) {
            if (moment.kind != sim::MomentKind::completing || moment.io != IoKind::write) return;
            if (++writes == 60) world.kill(*env);
        });
        world.run_for(5 * kSecond);
        world.watch(nullptr);
        EXPECT_EQ(writes, 60u);
    }
    void damage(size_t member, uint64_t at, Kind kind, sim::Random& random) {
        auto bytes = world_.store.platter(VolumeWorld::path(member), at, kSector);
        if (kind == Kind::flip) {
            bytes[random.below(kSector)] ^= static_cast<std::byte>(1u << random.below(8));
        } else {
            for (std::byte& byte : bytes) {
                byte =
                    kind == Kind::zero ? std::byte{0} : static_cast<std::byte>(random.below(256));
            }
        }
        world_.drive(member).platter().tamper(at, bytes);
    }
    void check(const std::string& what) {
        auto opened = world_.try_open();
        ASSERT_TRUE(opened.ok()) << what << ": " << opened.error().text;
        world_.volume = std::move(opened).value();
        // Odd, so that each piece comes from each member once.
        constexpr uint64_t kPiece = kSize / 5;
        for (int round = 0; round < 2; ++round) {
            for (uint64_t offset = 0; offset < kSize; offset += kPiece) {
                const auto data = world_.read(offset, kPiece);
                ASSERT_TRUE(data.ok()) << what << ": reading " << offset;
                const bool same =
                    std::memcmp(data.value().data(), content_.data() + offset, kPiece) == 0;
                ASSERT_TRUE(same) << what << ": wrong data from " << offset;
            }
        }
        ASSERT_TRUE(world_.close().ok()) << what;
    }
    void restore() {
        for (size_t i = 0; i < 2; ++i) world_.drive(i).platter().restore(images_[i]);
        world_.store.world.files() = files_;
    }

    VolumeWorld world_{{.size = kSize, .open = false}};
    std::vector<std::byte> content_;
    std::vector<sim::Platter::Image> images_;
    std::map<std::string, std::vector<std::byte>> files_;
    Layout layout_;
};

class SweepTest : public ::testing::TestWithParam<std::tuple<Found, Kind>> {};

TEST_P(SweepTest, DamageToOnePlaceIsMasked) {
    const auto [found, kind] = GetParam();
    Sweep sweep(found);
    sweep.run(kind, static_cast<uint64_t>(found) * 3 + static_cast<uint64_t>(kind));
}

std::string name_of(const ::testing::TestParamInfo<SweepTest::ParamType>& info) {
    constexpr const char* kFound[] = {"Closed", "KilledWithAFullLog", "KilledInACheckpoint",
                                      "PowerLost"};
    constexpr const char* kKinds[] = {"Flip", "Zero", "Garbage"};
    return std::string(kFound[static_cast<size_t>(std::get<0>(info.param))]) +
           kKinds[static_cast<size_t>(std::get<1>(info.param))];
}

INSTANTIATE_TEST_SUITE_P(
    All, SweepTest,
    ::testing::Combine(::testing::Values(Found::closed, Found::killed_with_a_full_log,
                                         Found::killed_in_a_checkpoint, Found::power_lost),
                       ::testing::Values(Kind::flip, Kind::zero, Kind::garbage)),
    name_of);

}  // namespace
}  // namespace gemel::mirror
