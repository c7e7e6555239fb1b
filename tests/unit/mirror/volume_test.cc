// SPDX-License-Identifier: Apache-2.0
//
// The volume as its clients see it: one disk, any offset and length, whatever happens below.
#include "mirror/volume.h"

#include <gtest/gtest.h>

#include "tests/unit/mirror/volume_world.h"

namespace gemel::mirror {
namespace {

using blockdev::kBlockSize;

// --- Against a plain array of bytes

class Model {
public:
    Model(VolumeWorld& world, uint64_t seed)
        : world_(world), random_(seed), bytes_(world.volume->geometry().size) {}

    void step() {
        const uint64_t size = bytes_.size();
        const uint64_t offset =
            random_.coin() ? random_.below(size / 512) * 512 : random_.below(size);
        const uint64_t largest = random_.chance(100'000) ? 1 << 20 : 20'000;
        const uint64_t length = random_.skewed(1, std::min<uint64_t>(size - offset, largest));
        const bool fua = random_.chance(100'000);
        switch (random_.below(10)) {
            case 0: return trim(offset, length, fua);
            case 1: return zero(offset, length, {.fua = fua, .keep_allocated = random_.coin()});
            case 2: return check_extents(offset, length);
            case 3: ASSERT_TRUE(world_.flush().ok()); return;
            case 4:
            case 5: return check(offset, length);
            default: return write(offset, length, fua);
        }
    }
    void check_all() { check(0, bytes_.size()); }

private:
    void write(uint64_t offset, uint64_t length, bool fua) {
        std::vector<std::byte> data(length);
        for (std::byte& byte : data) byte = static_cast<std::byte>(random_.next() >> 56);
        ASSERT_TRUE(world_.write(offset, data, {.fua = fua}).ok());
        std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<ptrdiff_t>(offset));
    }
    void clear(uint64_t begin, uint64_t end) {
        if (begin >= end) return;
        std::fill(bytes_.begin() + static_cast<ptrdiff_t>(begin),
                  bytes_.begin() + static_cast<ptrdiff_t>(end), std::byte{0});
    }
    void trim(uint64_t offset, uint64_t length, bool fua) {
        const Status status = world_.store.run(world_.volume->trim(offset, length, {.fua = fua}));
        ASSERT_TRUE(status.ok());
        clear(round_up(offset, kBlockSize), round_down(offset + length, kBlockSize));
    }
    void zero(uint64_t offset, uint64_t length, ZeroOptions options) {
        ASSERT_TRUE(world_.zero(offset, length, options).ok());
        clear(offset, offset + length);
    }
    void check(uint64_t offset, uint64_t length) {
        const auto data = world_.read(offset, length);
        ASSERT_TRUE(data.ok()) << data.error().text();
        ASSERT_EQ(std::memcmp(data.value().data(), bytes_.data() + offset, length), 0)
            << offset << "+" << length;
    }
    // What is said to be zero is.
    void check_extents(uint64_t offset, uint64_t length) {
        const size_t limit = random_.between(1, 20);
        const auto found = world_.store.run(world_.volume->extents(offset, length, limit));
        ASSERT_TRUE(found.ok());
        ASSERT_FALSE(found.value().empty());
        ASSERT_LE(found.value().size(), limit);
        uint64_t at = offset;
        for (const Extent& extent : found.value()) {
            ASSERT_GT(extent.length, 0u);
            ASSERT_LE(at + extent.length, offset + length);
            if (extent.zero) { ASSERT_TRUE(all_zero({bytes_.data() + at, extent.length})); }
            at += extent.length;
        }
        if (found.value().size() < limit) { ASSERT_EQ(at, offset + length); }
    }

    VolumeWorld& world_;
    sim::Random random_;
    std::vector<std::byte> bytes_;
};

TEST(Volume, BehavesLikeAnArrayOfBytesOverStopsAndKills) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        VolumeWorld world({.seed = seed, .members = seed == 3 ? 3u : 2u, .size = 5'111'808});
        Model model(world, seed);
        for (int round = 0; round < 6; ++round) {
            for (int i = 0; i < 60; ++i) {
                model.step();
                ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed << " step " << i;
            }
            if (round % 3 == 0) {
                ASSERT_TRUE(world.drain().ok());
            } else if (round % 3 == 1) {
                world.kill();
                world.open();
            } else {
                ASSERT_TRUE(world.close().ok());
                world.open();
            }
            model.check_all();
            ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed << " round " << round;
        }
    }
}

// --- Many at once

struct Call {
    std::vector<std::byte> data;
    std::vector<std::byte> expected;
    std::optional<Status> status;
};

Task<void> write_call(Volume& volume, uint64_t offset, Call& call) {
    call.status = co_await volume.write(offset, call.data, {});
}
Task<void> read_call(Volume& volume, uint64_t offset, Call& call) {
    call.status = co_await volume.read(offset, call.data);
}
Task<void> zero_call(Volume& volume, uint64_t offset, uint64_t length, Call& call) {
    call.status = co_await volume.write_zeroes(offset, length, {});
}
Task<void> flush_call(Volume& volume, Call& call) { call.status = co_await volume.flush(); }

TEST(Volume, OverlappingCallsBehaveAsIfDoneInTheOrderInWhichTheyWereMade) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        VolumeWorld world({.seed = seed});
        sim::Random random(seed);
        std::vector<std::byte> bytes(64 << 10);
        for (int round = 0; round < 12; ++round) {
            std::vector<std::unique_ptr<Call>> calls;
            for (int i = 0; i < 40; ++i) {
                Call& call = *calls.emplace_back(std::make_unique<Call>());
                const uint64_t offset = random.below(bytes.size());
                const uint64_t length = random.skewed(1, bytes.size() - offset);
                const auto begin = bytes.begin() + static_cast<ptrdiff_t>(offset);
                const auto end = begin + static_cast<ptrdiff_t>(length);
                call.data.resize(length, static_cast<std::byte>(round * 40 + i));
                switch (random.below(8)) {
                    case 0: world.store.start(flush_call(*world.volume, call)); break;
                    case 1:
                        std::fill(begin, end, std::byte{0});
                        world.store.start(zero_call(*world.volume, offset, length, call));
                        break;
                    case 2:
                    case 3:
                    case 4:
                        call.expected.assign(begin, end);
                        world.store.start(read_call(*world.volume, offset, call));
                        break;
                    default:
                        std::copy(call.data.begin(), call.data.end(), begin);
                        world.store.start(write_call(*world.volume, offset, call));
                }
            }
            const auto all_done = [&calls] {
                return std::all_of(calls.begin(), calls.end(),
                                   [](const auto& call) { return call->status.has_value(); });
            };
            ASSERT_TRUE(
                world.store.world.run_until(all_done, world.store.world.now_ns() + 1000 * kSecond));
            for (const auto& call : calls) {
                ASSERT_TRUE(call->status->ok());
                if (!call->expected.empty()) { ASSERT_EQ(call->data, call->expected); }
            }
        }
        EXPECT_EQ(world.read(0, bytes.size()).value(), bytes);
    }
}

// --- The edges of the device

TEST(Volume, RefusesWhatLiesOutside) {
    VolumeWorld world;
    const uint64_t size = world.volume->geometry().size;
    EXPECT_EQ(size, 5u << 20);
    for (const auto& [offset, length] : std::vector<std::pair<uint64_t, uint64_t>>{
             {size, 1}, {size - 1, 2}, {size + 4096, 1}, {UINT64_MAX, 2}, {0, size + 1}}) {
        std::vector<std::byte> data(std::min<uint64_t>(length, size + 1));
        EXPECT_EQ(world.write(offset, data).error().code, Errc::invalid);
        EXPECT_EQ(world.read(offset, data.size()).error().code, Errc::invalid);
        EXPECT_EQ(world.trim(offset, length).error().code, Errc::invalid);
        EXPECT_EQ(world.zero(offset, length).error().code, Errc::invalid);
        EXPECT_EQ(world.store.run(world.volume->extents(offset, length, 1)).error().code,
                  Errc::invalid);
    }
    EXPECT_EQ(world.trim(4096, UINT64_MAX).error().code, Errc::invalid);
    EXPECT_TRUE(world.fill(size - 1, 1, 7).ok());
    EXPECT_EQ(world.value_of(size - 1, 1), 7);
}

TEST(Volume, NothingIsAlsoARequest) {
    VolumeWorld world;
    const uint64_t size = world.volume->geometry().size;
    EXPECT_TRUE(world.fill(0, 0, 1).ok());
    EXPECT_TRUE(world.read(size, 0).ok());
    EXPECT_TRUE(world.zero(size, 0).ok());
    EXPECT_TRUE(world.trim(0, 0).ok());
    EXPECT_TRUE(world.trim(100, 200).ok());
    EXPECT_EQ(world.volume->report().commit_sequence, 0u);
}

TEST(Volume, ReadOnlyMeansNoWritingOfAnyKind) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    ASSERT_TRUE(world.close().ok());
    world.open({.read_only = true});
    EXPECT_TRUE(world.volume->geometry().read_only);
    EXPECT_EQ(world.fill(0, 1, 1).error().code, Errc::read_only);
    EXPECT_EQ(world.trim(0, 4096).error().code, Errc::read_only);
    EXPECT_EQ(world.zero(0, 4096).error().code, Errc::read_only);
    EXPECT_TRUE(world.flush().ok());
    EXPECT_EQ(world.value_of(0, 4096), 5);
}

TEST(Volume, AWriteUpToTheLogLimitIsOneBatch) {
    VolumeWorld world;
    const uint64_t before = world.volume->report().batches;
    ASSERT_TRUE(world.fill(1000, 64 << 10, 1).ok());
    EXPECT_EQ(world.volume->report().batches, before + 1);
}

// --- What was acknowledged

TEST(Volume, AcknowledgedWritesSurviveAKill) {
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        VolumeWorld world({.seed = seed});
        for (uint8_t i = 0; i < 20; ++i) ASSERT_TRUE(world.fill(i * 7000, 7000, i + 1).ok());
        world.kill();
        world.open();
        for (uint8_t i = 0; i < 20; ++i) EXPECT_EQ(world.value_of(i * 7000, 7000), i + 1);
    }
}

TEST(Volume, FlushedAndForcedWritesSurviveALossOfPower) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
        VolumeWorld world({.seed = seed});
        for (uint8_t i = 0; i < 10; ++i) ASSERT_TRUE(world.fill(i * 7000, 7000, i + 1).ok());
        if (seed % 2 == 0) {
            ASSERT_TRUE(world.flush().ok());
        } else {
            // Everything before it as well.
            ASSERT_TRUE(world.fill(500'000, 3, 9, {.fua = true}).ok());
        }
        ASSERT_TRUE(world.fill(600'000, 7000, 200).ok());
        world.lose_power();
        world.open();
        for (uint8_t i = 0; i < 10; ++i) EXPECT_EQ(world.value_of(i * 7000, 7000), i + 1);
        const int late = world.value_of(600'000, 7000);
        EXPECT_TRUE(late == 0 || late == 200) << "a write up to the log limit is atomic";
    }
}

TEST(Volume, AnOrderlyCloseNeedsNoSettlement) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(12'345, 50'000, 3).ok());
    ASSERT_TRUE(world.close().ok());
    // Home alone has it: the plain image of either member.
    for (size_t member = 0; member < 2; ++member) {
        const auto home =
            world.store.platter(VolumeWorld::path(member), world.home(member, 0) + 12'345, 50'000);
        EXPECT_EQ(std::count(home.begin(), home.end(), std::byte{3}), 50'000);
    }
    world.open();
    EXPECT_EQ(world.value_of(12'345, 50'000), 3);
}

TEST(Volume, AClosedVolumeRefusesRequests) {
    VolumeWorld world;
    ASSERT_TRUE(world.store.run(world.volume->close(world.store.world.now_ns() + kSecond)).ok());
    EXPECT_EQ(world.read(0, 1).error().code, Errc::closed);
    EXPECT_EQ(world.fill(0, 1, 1).error().code, Errc::closed);
    EXPECT_EQ(world.flush().error().code, Errc::closed);
    world.volume.reset();
}

TEST(Volume, DrainingBringsEverythingHome) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 500'000, 4).ok());
    EXPECT_GT(world.volume->report().members[0].log_bytes_used, 0u);
    ASSERT_TRUE(world.drain().ok());
    const VolumeReport report = world.volume->report();
    for (const MemberReport& member : report.members) {
        EXPECT_GE(member.checkpoint_sequence, report.commit_sequence);
    }
    EXPECT_EQ(world.value_of(0, 500'000), 4);
}

TEST(Volume, AnIdleVolumeComesHomeOnItsOwn) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 500'000, 4).ok());
    world.store.world.run_for(30 * kSecond);
    for (const MemberReport& member : world.volume->report().members) {
        EXPECT_EQ(member.log_bytes_used, 0u);
    }
    EXPECT_EQ(world.volume->report().stable_sequence, world.volume->report().commit_sequence);
}

TEST(Volume, WritingMoreThanTheLogHoldsGoesOn) {
    VolumeWorld world({.size = 16 << 20});
    for (uint64_t i = 0; i < 12; ++i) {
        ASSERT_TRUE(world.fill(i << 20, 1 << 20, static_cast<uint8_t>(i + 1)).ok());
    }
    for (uint64_t i = 0; i < 12; ++i) EXPECT_EQ(world.value_of(i << 20, 1 << 20), i + 1);
    EXPECT_GT(world.volume->report().checkpoints, 0u);
}

// --- Damage and failure

TEST(Volume, ADamagedBlockOnOneMemberIsMaskedByTheOther) {
    for (const size_t damaged : {0, 1}) {
        VolumeWorld world;
        ASSERT_TRUE(world.fill(0, 10 * kBlockSize, 6).ok());
        ASSERT_TRUE(world.drain().ok());
        world.damage_home(damaged, 3);
        for (int i = 0; i < 6; ++i) EXPECT_EQ(world.value_of(0, 10 * kBlockSize), 6);
        EXPECT_GT(world.volume->report().members[damaged].mismatches, 0u);
        EXPECT_EQ(world.volume->report().members[1 - damaged].mismatches, 0u);
        EXPECT_EQ(world.volume->report().state, "serving");
    }
}

TEST(Volume, AnUnreadableDriveIsMaskedByTheOther) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 10 * kBlockSize, 6).ok());
    ASSERT_TRUE(world.drain().ok());
    world.drive(1).faults.read_error_rate = sim::kCertain;
    for (int i = 0; i < 6; ++i) EXPECT_EQ(world.value_of(4096, 4096), 6);
    // A part of a block, completed from what the other one holds.
    EXPECT_TRUE(world.fill(4096 + 100, 5, 7).ok());
    EXPECT_EQ(world.value_of(4096 + 100, 5), 7);
    EXPECT_EQ(world.value_of(4096, 100), 6);
    world.drive(1).faults.read_error_rate = 0;
}

TEST(Volume, NoGoodCopyIsAnErrorForThoseBlocksAlone) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 10 * kBlockSize, 6).ok());
    ASSERT_TRUE(world.drain().ok());
    world.damage_home(0, 3);
    world.damage_home(1, 3);
    for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(world.read(3 * kBlockSize, kBlockSize).error().code, Errc::io);
        EXPECT_EQ(world.read(0, 10 * kBlockSize).error().code, Errc::io);
        EXPECT_EQ(world.value_of(0, 3 * kBlockSize), 6);
        EXPECT_EQ(world.value_of(4 * kBlockSize, 6 * kBlockSize), 6);
    }
    // No guess at the rest of the block either; the write has no number then.
    const uint64_t numbered = world.volume->report().commit_sequence;
    EXPECT_EQ(world.fill(3 * kBlockSize + 5, 10, 1).error().code, Errc::io);
    EXPECT_EQ(world.volume->report().commit_sequence, numbered);
    EXPECT_TRUE(world.fill(3 * kBlockSize, kBlockSize, 8).ok());
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), 8);
}

// Each member has lost another block: no single one can serve the read, together they can.
TEST(Volume, DamageOfDifferentBlocksOnBothMembersIsMaskedBlockByBlock) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 10 * kBlockSize, 6).ok());
    ASSERT_TRUE(world.drain().ok());
    world.damage_home(0, 3);
    world.damage_home(1, 7);
    EXPECT_EQ(world.value_of(3 * kBlockSize, kBlockSize), 6);
    EXPECT_EQ(world.value_of(7 * kBlockSize, kBlockSize), 6);
    EXPECT_EQ(world.value_of(0, 10 * kBlockSize), 6);
}

TEST(Volume, TheLastMemberThatFailsStopsTheVolume) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 4096, 5).ok());
    for (const size_t member : {0, 1}) {
        world.drive(member).faults.write_error_rate = sim::kCertain;
    }
    EXPECT_EQ(world.fill(4096, 4096, 6).error().code, Errc::io);
    for (const size_t member : {0, 1}) world.drive(member).faults.write_error_rate = 0;
    EXPECT_EQ(world.fill(8192, 4096, 6).error().code, Errc::io);
    EXPECT_EQ(world.read(0, 4096).error().code, Errc::io);
    EXPECT_EQ(world.flush().error().code, Errc::io);
    EXPECT_EQ(world.volume->report().state, "stopped");
    EXPECT_NE(world.volume->report().stopped_because.find("/m"), std::string::npos);
    static_cast<void>(world.close());
}

TEST(Volume, RequestsInFlightWhenAMemberFailsAllGetAnAnswer) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
        VolumeWorld world({.seed = seed});
        std::vector<std::unique_ptr<Call>> calls;
        for (uint64_t i = 0; i < 60; ++i) {
            Call& call = *calls.emplace_back(std::make_unique<Call>());
            call.data.resize(i % 5 == 0 ? 300'000 : 5000);
            if (i == 20) world.drive(0).faults.write_error_rate = sim::kCertain;
            world.store.start(write_call(*world.volume, i * 5000, call));
            if (i % 10 == 0)
                world.store.start(
                    flush_call(*world.volume, *calls.emplace_back(std::make_unique<Call>())));
            world.store.world.run_for(20 * kMicrosecond);
        }
        const auto all_done = [&calls] {
            return std::all_of(calls.begin(), calls.end(),
                               [](const auto& call) { return call->status.has_value(); });
        };
        EXPECT_TRUE(
            world.store.world.run_until(all_done, world.store.world.now_ns() + 1000 * kSecond));
        for (const auto& call : calls)
            EXPECT_TRUE(call->status->ok()) << call->status->error().text();
        EXPECT_EQ(world.volume->report().state, "serving");
        EXPECT_EQ(world.volume->report().members[0].state, "failed");
        EXPECT_TRUE(world.close().ok());
    }
}

// --- What it says of itself

TEST(Volume, ReportsWhatItDoes) {
    VolumeWorld world;
    ASSERT_TRUE(world.fill(0, 8192, 5).ok());
    ASSERT_TRUE(world.read(0, 4096).ok());
    ASSERT_TRUE(world.flush().ok());
    ASSERT_TRUE(world.trim(0, 4096).ok());
    const VolumeReport report = world.volume->report();
    EXPECT_EQ(report.name, "vol");
    EXPECT_EQ(report.uuid, world.description.uuid);
    EXPECT_EQ(report.size, 5u << 20);
    EXPECT_EQ(report.state, "serving");
    EXPECT_EQ(report.epoch, 2u);
    EXPECT_EQ(report.reads, 1u);
    EXPECT_EQ(report.writes, 1u);
    EXPECT_EQ(report.flushes, 1u);
    EXPECT_EQ(report.trims, 1u);
    EXPECT_EQ(report.bytes_written, 8192u);
    EXPECT_EQ(report.commit_sequence, 2u);
    EXPECT_EQ(report.stable_sequence, 1u);
    ASSERT_EQ(report.members.size(), 2u);
    EXPECT_EQ(report.members[1].path, "/m1");
    EXPECT_EQ(report.members[1].uuid, world.description.members[1].uuid);
    EXPECT_EQ(report.members[1].state, "in-sync");
    EXPECT_EQ(report.members[1].logged_sequence, 2u);
}

}  // namespace
}  // namespace gemel::mirror
