// SPDX-License-Identifier: Apache-2.0
//
// Superblocks: what is refused, which copy counts, and that no crash leaves none.
#include "blockdev/superblock.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

constexpr uint64_t kPlaceB = 0x524000;  // Of a small layout.

std::unique_ptr<Superblock> good_superblock() {
    auto superblock = make_superblock_buffer();
    superblock->magic = kSuperblockMagic;
    superblock->version = kFormatVersion;
    superblock->minimum_reader = kMinimumReader;
    superblock->generation = 2;
    superblock->member = fixed_uuid(0x10);
    superblock->volume = fixed_uuid(0xa0);
    std::memcpy(superblock->name, "vol", 3);
    superblock->geometry = to_record(small_layout());
    superblock->secret = fixed_secret();
    superblock->tail.sequence = 1;
    superblock->configuration = fixed_configuration(2);
    superblock->epoch_count = 1;
    superblock->epochs[0] = superblock->configuration.epoch;
    superblock->root_count = 1;
    seal_superblock(*superblock, 0);
    return superblock;
}

void reseal(Superblock& superblock) {
    superblock.checksum = ecc::hash64(bytes_of(superblock).subspan(sizeof(le64)), 0);
}

TEST(Superblock, AGoodOneHasNoFault) {
    const auto superblock = good_superblock();
    EXPECT_EQ(superblock_fault(*superblock, 0), nullptr);
    EXPECT_EQ(volume_name(*superblock), "vol");
}

TEST(Superblock, AtAnotherPlaceItDoesNotCount) {
    EXPECT_STREQ(superblock_fault(*good_superblock(), kPlaceB), "checksum");
}

TEST(Superblock, AnyFlippedBitIsSeen) {
    const auto superblock = good_superblock();
    const std::span<std::byte> bytes = writable_bytes_of(*superblock);
    // All bits of the fields in use; of the rest, one in each byte.
    for (size_t bit = 0; bit < bytes.size() * 8; bit += bit < 800 * 8 ? 1 : 9) {
        bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
        ASSERT_NE(superblock_fault(*superblock, 0), nullptr) << bit;
        bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    }
    EXPECT_EQ(superblock_fault(*superblock, 0), nullptr);
}

TEST(Superblock, EveryBrokenRuleIsRefusedByName) {
    struct Case {
        const char* rule;
        void (*spoil)(Superblock&);
    };
    const Case cases[] = {
        {"magic", [](Superblock& s) { s.magic = 7; }},
        {"newer format", [](Superblock& s) { s.minimum_reader = kFormatVersion + 1; }},
        {"identity", [](Superblock& s) { s.version = 0; }},
        {"identity", [](Superblock& s) { s.member = Uuid{}; }},
        {"identity", [](Superblock& s) { s.volume = Uuid{}; }},
        {"name", [](Superblock& s) { s.name[0] = 0; }},
        {"name", [](Superblock& s) { std::memset(s.name, 'x', sizeof s.name); }},
        {"volume size", [](Superblock& s) { s.configuration.volume_size = 0; }},
        {"volume size",
         [](Superblock& s) { s.configuration.volume_size = s.geometry.maximum_size + kBlockSize; }},
        {"geometry offsets", [](Superblock& s) { s.geometry.home_offset = 0; }},
        {"member count", [](Superblock& s) { s.configuration.member_count = 0; }},
        {"epoch", [](Superblock& s) { s.configuration.epoch.number = 0; }},
        {"log tail", [](Superblock& s) { s.tail.ring_offset = kMinimumLogSize + 4096; }},
        {"log tail", [](Superblock& s) { s.tail.ring_offset = 100; }},
        {"log tail", [](Superblock& s) { s.tail.sequence = 0; }},
        {"epoch history", [](Superblock& s) { s.epoch_count = 0; }},
        {"epoch history", [](Superblock& s) { s.epoch_count = kEpochHistory + 1; }},
        {"roots", [](Superblock& s) { s.root_count = 0; }},
        {"roots", [](Superblock& s) { s.root_count = 513; }},
        {"resync state", [](Superblock& s) { s.resync.state = 2; }},
        {"resync state", [](Superblock& s) { s.resync.reserved = 1; }},
        {"resync record", [](Superblock& s) { s.resync.base_sequence = 7; }},
        {"resync base",
         [](Superblock& s) {
             s.resync.state = 1;
             s.resync.base_sequence = kMaximumSequence + 1;
         }},
        {"resync coverage",
         [](Superblock& s) {
             s.resync.state = 1;
             s.resync.covered_sequence = kMaximumSequence + 1;
         }},
        {"resync cursor",
         [](Superblock& s) {
             s.resync.state = 1;
             s.resync.cursor_page = UINT64_MAX;
         }},
        {"resync window",
         [](Superblock& s) {
             s.resync.state = 1;
             s.resync.window_begin = 1;
         }},
        {"resync window",
         [](Superblock& s) {
             s.resync.state = 1;
             s.resync.window_end = UINT64_MAX;
         }},
    };
    for (const Case& one : cases) {
        const auto superblock = good_superblock();
        one.spoil(*superblock);
        reseal(*superblock);
        EXPECT_STREQ(superblock_fault(*superblock, 0), one.rule);
    }
}

TEST(Superblock, AnImpossibleConfigurationIsRefusedByName) {
    struct Case {
        const char* rule;
        void (*spoil)(ConfigurationRecord&);
    };
    const Case cases[] = {
        {"member count", [](ConfigurationRecord& c) { c.member_count = 0; }},
        {"member count", [](ConfigurationRecord& c) { c.member_count = kMaximumMembers + 1; }},
        {"member count", [](ConfigurationRecord& c) { c.member_count = UINT32_MAX; }},
        {"consistency mode", [](ConfigurationRecord& c) { c.mode = 1; }},
        {"epoch", [](ConfigurationRecord& c) { c.epoch.number = 0; }},
        {"epoch", [](ConfigurationRecord& c) { c.epoch.id = Uuid{}; }},
        {"epoch", [](ConfigurationRecord& c) { c.epoch.first_sequence = 0; }},
        {"configured member", [](ConfigurationRecord& c) { c.members[1].uuid = Uuid{}; }},
        {"configured member", [](ConfigurationRecord& c) { c.members[0].state = 5; }},
        {"no member in sync",
         [](ConfigurationRecord& c) {
             c.members[0].state = 1;
             c.members[1].state = 3;
         }},
        {"volume size", [](ConfigurationRecord& c) { c.volume_size = 0; }},
        {"volume size", [](ConfigurationRecord& c) { c.volume_size = 4097; }},
        {"configured member", [](ConfigurationRecord& c) { c.members[1].role = 2; }},
        {"replaced member", [](ConfigurationRecord& c) { c.members[1].replaces = 3; }},
        {"replaced member", [](ConfigurationRecord& c) { c.members[1].replaces = 2; }},
        {"member listed twice",
         [](ConfigurationRecord& c) { c.members[1].uuid = c.members[0].uuid; }},
    };
    EXPECT_EQ(configuration_fault(fixed_configuration(1)), nullptr);
    EXPECT_EQ(configuration_fault(fixed_configuration(2)), nullptr);
    for (const Case& one : cases) {
        ConfigurationRecord configuration = fixed_configuration(2);
        one.spoil(configuration);
        EXPECT_STREQ(configuration_fault(configuration), one.rule);
    }
}

TEST(Superblock, GarbageGetsAnAnswer) {
    sim::Random random(11);
    for (int i = 0; i < 3000; ++i) {
        const auto superblock = good_superblock();
        const std::span<std::byte> bytes = writable_bytes_of(*superblock);
        const uint64_t changes = random.between(1, 5);
        for (uint64_t j = 0; j < changes; ++j) {
            const uint64_t value = random.coin() ? random.next() : random.below(1000);
            std::memcpy(bytes.data() + random.below(200) * 4, &value, sizeof value);
        }
        if (random.coin()) reseal(*superblock);
        static_cast<void>(superblock_fault(*superblock, 0));
        static_cast<void>(configuration_fault(superblock->configuration));
        static_cast<void>(volume_name(*superblock));
    }
}

class SuperblockOnDisk : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            world_.run(format_member(*world_.env, "/m", small_layout(), fixed_configuration(2), 0))
                .ok());
    }
    void damage(uint64_t offset) {
        auto bytes = world_.platter("/m", offset, 512);
        bytes[100] ^= std::byte{1};
        world_.drive("/m").platter().tamper(offset, bytes);
    }
    Outcome<SuperblockReading> read() {
        const auto disk = world_.open_disk("/m");
        return world_.run(read_superblocks(*disk));
    }
    // Both copies in memory, to be put in place under a right checksum.
    std::unique_ptr<Superblock> copy_at(uint64_t offset) {
        auto superblock = make_superblock_buffer();
        const auto bytes = world_.platter("/m", offset, kSuperblockSize);
        std::memcpy(static_cast<void*>(superblock.get()), bytes.data(), bytes.size());
        return superblock;
    }

    StoreWorld world_;
};

TEST_F(SuperblockOnDisk, TheNewestCopyCounts) {
    const auto reading = read();
    ASSERT_TRUE(reading.ok());
    EXPECT_EQ(reading.value().fault_a, nullptr);
    EXPECT_EQ(reading.value().fault_b, nullptr);
    EXPECT_EQ(reading.value().superblock->generation, 2u);
    const auto newer = copy_at(kPlaceB);
    newer->generation = 9;
    seal_superblock(*newer, kPlaceB);
    world_.drive("/m").platter().tamper(kPlaceB, bytes_of(*newer));
    EXPECT_EQ(read().value().superblock->generation, 9u);
}

TEST_F(SuperblockOnDisk, OneDamagedCopyIsMaskedByTheOther) {
    damage(kPlaceB);
    const auto without_b = read();
    ASSERT_TRUE(without_b.ok());
    EXPECT_STREQ(without_b.value().fault_b, "checksum");
    EXPECT_EQ(without_b.value().superblock->generation, 2u);
}

TEST_F(SuperblockOnDisk, ADamagedFirstCopyIsMaskedByTheSecondWhoseOwnerRecordSaysWhereItLies) {
    damage(0);
    const auto without_a = read();
    ASSERT_TRUE(without_a.ok());
    EXPECT_STREQ(without_a.value().fault_a, "checksum");
    EXPECT_EQ(without_a.value().superblock->generation, 1u);
    damage(kOwnerOffset);
    EXPECT_FALSE(read().ok());
}

TEST_F(SuperblockOnDisk, AnUnreadableCopyIsMaskedByTheOther) {
    world_.drive("/m").faults.unreadable_pages = {3};
    const auto reading = read();
    ASSERT_TRUE(reading.ok());
    EXPECT_STREQ(reading.value().fault_a, "cannot be read");
}

TEST_F(SuperblockOnDisk, BothDamagedIsSaid) {
    damage(0);
    damage(kPlaceB);
    const auto reading = read();
    ASSERT_FALSE(reading.ok());
    EXPECT_EQ(reading.error().code, Errc::corrupt);
    EXPECT_NE(reading.error().text.find("/m: both superblocks are damaged"), std::string::npos);
}

TEST_F(SuperblockOnDisk, ANewerFormatIsNamedAndNothingElseIsTrusted) {
    const auto newer = copy_at(0);
    newer->version = 7;
    newer->minimum_reader = 5;
    newer->checksum = 0;
    world_.drive("/m").platter().tamper(0, bytes_of(*newer));
    // One of them alone may be a changed bit.
    EXPECT_TRUE(read().ok());
    world_.drive("/m").platter().tamper(newer->geometry.superblock_b_offset, bytes_of(*newer));
    const auto reading = read();
    ASSERT_FALSE(reading.ok());
    EXPECT_EQ(reading.error().code, Errc::unsupported);
    EXPECT_NE(reading.error().text.find("needs Gemel format 5"), std::string::npos);
}

TEST_F(SuperblockOnDisk, AForeignFileAndATooSmallOneAreNamed) {
    world_.world.add_drive({.path = "/foreign", .size = 64 * kMiB});
    const auto foreign = world_.open_disk("/foreign");
    const auto not_ours = world_.run(read_superblocks(*foreign));
    ASSERT_FALSE(not_ours.ok());
    EXPECT_EQ(not_ours.error().code, Errc::invalid);
    EXPECT_NE(not_ours.error().text.find("/foreign: not a Gemel member"), std::string::npos);
    world_.world.add_drive({.path = "/small", .size = 4096});
    const auto small = world_.open_disk("/small");
    const auto too_small = world_.run(read_superblocks(*small));
    ASSERT_FALSE(too_small.ok());
    EXPECT_NE(too_small.error().text.find("/small: too small"), std::string::npos);
}

TEST_F(SuperblockOnDisk, WritesAlternateAndNeverReplaceTheNewestCopy) {
    const auto disk = world_.open_disk("/m");
    auto reading = world_.run(read_superblocks(*disk));
    SuperblockStore store(*disk, std::move(reading.value().superblock));
    for (uint64_t generation = 3; generation < 9; ++generation) {
        const uint64_t place = generation % 2 == 0 ? 0 : kPlaceB;
        const auto other = copy_at(place == 0 ? kPlaceB : 0);
        ASSERT_TRUE(world_.run(store.write_one()).ok());
        const auto other_now = copy_at(place == 0 ? kPlaceB : 0);
        EXPECT_EQ(std::memcmp(other.get(), other_now.get(), kSuperblockSize), 0);
        EXPECT_EQ(copy_at(place)->generation, generation);
        EXPECT_EQ(superblock_fault(*copy_at(place), place), nullptr);
        EXPECT_EQ(world_.drive("/m").platter().unsynced(), 0u);
    }
}

TEST_F(SuperblockOnDisk, WritingBothFlushesEachBeforeTheNext) {
    const auto disk = world_.open_disk("/m");
    auto reading = world_.run(read_superblocks(*disk));
    SuperblockStore store(*disk, std::move(reading.value().superblock));
    std::vector<IoKind> submitted;
    world_.world.watch([&submitted](const sim::Moment& moment) {
        if (moment.kind == sim::MomentKind::submitting) submitted.push_back(moment.io);
    });
    ASSERT_TRUE(world_.run(store.write_both()).ok());
    const std::vector<IoKind> expected{IoKind::write, IoKind::sync, IoKind::write, IoKind::sync};
    EXPECT_EQ(submitted, expected);
}

TEST_F(SuperblockOnDisk, AFailedFlushFailsTheWrite) {
    const auto disk = world_.open_disk("/m");
    auto reading = world_.run(read_superblocks(*disk));
    SuperblockStore store(*disk, std::move(reading.value().superblock));
    world_.drive("/m").faults.sync_error_rate = sim::kCertain;
    EXPECT_FALSE(world_.run(store.write_one()).ok());
}

Task<Status> write_tails(Disk& disk) {
    Outcome<SuperblockReading> reading = co_await read_superblocks(disk);
    SuperblockStore store(disk, std::move(reading.value().superblock));
    for (uint64_t sequence = 100; sequence < 103; ++sequence) {
        store.editable().tail.sequence = sequence;
        const Status status = co_await store.write_one();
        if (!status.ok()) co_return status;
    }
    co_return Status::success();
}

// Whatever a power loss tears, the newest one whose flush had ended, or a newer one, is there.
TEST(SuperblockCrash, ALossOfPowerAtAnyMomentLeavesOneThatIsNotOlderThanTheLastFlushed) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
        for (uint64_t moment_of_crash = 0;; ++moment_of_crash) {
            StoreWorld world(seed);
            add_quick_member(world, "/m", small_layout(), fixed_configuration(1), 0);
            auto* disk = world.open_disk("/m").release();
            uint64_t moments = 0;
            uint64_t flushed = 1;
            world.world.watch([&](const sim::Moment& moment) {
                if (moments++ == moment_of_crash) return world.world.kill(*world.env);
                if (moment.kind == sim::MomentKind::completing && moment.io == IoKind::sync) {
                    flushed = flushed == 1 ? 100 : flushed + 1;
                }
            });
            const bool done = world.try_run(write_tails(*disk)).has_value();
            world.world.watch(nullptr);
            if (done) {
                EXPECT_GT(moment_of_crash, 12u);
                delete disk;
                break;
            }
            world.world.lose_power(0, {&world.drive("/m")});
            world.restart();
            const auto again = world.open_disk("/m");
            const auto reading = world.run(read_superblocks(*again));
            ASSERT_TRUE(reading.ok()) << moment_of_crash;
            EXPECT_GE(reading.value().superblock->tail.sequence.get(), flushed);
        }
    }
}

}  // namespace
}  // namespace gemel::blockdev
