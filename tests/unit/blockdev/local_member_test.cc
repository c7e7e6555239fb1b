// SPDX-License-Identifier: Apache-2.0
//
// A member on a simulated drive: opening what may be damaged, log and home together, and what is
// left when the power fails.
#include "blockdev/local_member.h"

#include <gtest/gtest.h>

#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

class LocalMemberTest : public ::testing::Test {
protected:
    void SetUp() override { format("/m"); }
    void format(const std::string& path) {
        ASSERT_TRUE(
            world_.run(format_member(*world_.env, path, layout_, fixed_configuration(1), 0)).ok());
    }
    void open() {
        auto opened = open_member(world_, "/m", pool_);
        ASSERT_TRUE(opened.ok()) << opened.error().text;
        member_ = std::move(opened).value();
    }
    void expect_refused(const std::string& path, Errc code, const std::string& text) {
        const auto opened = open_member(world_, path, pool_);
        ASSERT_FALSE(opened.ok());
        EXPECT_EQ(opened.error().code, code);
        EXPECT_NE(opened.error().text.find(path), std::string::npos) << opened.error().text;
        EXPECT_NE(opened.error().text.find(text), std::string::npos) << opened.error().text;
    }
    void write(uint64_t block, uint32_t count = 1) {
        append_and_wait(world_, *member_, chain_.next_write(block, count));
    }
    void clear(uint64_t block, uint32_t count) {
        append_and_wait(world_, *member_, chain_.next({{EntryKind::trim, block, count, nullptr}}));
    }
    Status checkpoint(uint64_t sequence, uint64_t bytes = UINT64_MAX) {
        return world_.run(member_->checkpoint(sequence, bytes, 32));
    }
    // The tag of a block as the member reads it; nothing if it cannot.
    std::optional<uint64_t> tag(uint64_t block) {
        const AlignedBytes data = allocate_aligned(kBlockSize);
        if (!world_.run(member_->read(block, 1, data.get())).ok()) return std::nullopt;
        uint64_t value = 0;
        std::memcpy(&value, data.get(), sizeof value);
        return value;
    }
    void damage(uint64_t offset) {
        auto bytes = world_.platter("/m", offset, 512);
        bytes[100] ^= std::byte{4};
        world_.drive("/m").platter().tamper(offset, bytes);
    }

    const Layout layout_ = small_layout();
    StoreWorld world_;
    BufferPool pool_{0};
    ChainMaker chain_;
    std::unique_ptr<LocalMember> member_;
};

// --- Opening

TEST_F(LocalMemberTest, OpensWhatWasFormatted) {
    open();
    EXPECT_EQ(member_->path(), "/m");
    EXPECT_EQ(volume_name(member_->superblock()), "vol");
    EXPECT_EQ(member_->layout().volume_size, layout_.volume_size);
    EXPECT_TRUE(member_->closed_cleanly());
    EXPECT_EQ(member_->tail_sequence(), 1u);
    EXPECT_EQ(member_->log_bytes_used(), 0u);
    EXPECT_EQ(tag(0), 0u);
}

TEST_F(LocalMemberTest, GoesOnWithOneDamagedSuperblockAndWritesItAgain) {
    for (const uint64_t place : {uint64_t{0}, layout_.superblock_b_offset}) {
        damage(place);
        open();
        const ConfigurationRecord configuration = member_->superblock().configuration;
        const EpochRecord history[] = {configuration.epoch};
        ASSERT_TRUE(world_.run(member_->begin_epoch(configuration, history)).ok());
        member_.reset();
        const auto disk = world_.open_disk("/m");
        const auto reading = world_.run(read_superblocks(*disk));
        ASSERT_TRUE(reading.ok());
        EXPECT_EQ(reading.value().fault_a, nullptr);
        EXPECT_EQ(reading.value().fault_b, nullptr);
    }
}

TEST_F(LocalMemberTest, RefusesBothSuperblocksDamaged) {
    damage(0);
    damage(layout_.superblock_b_offset);
    expect_refused("/m", Errc::corrupt, "both superblocks are damaged");
}

TEST_F(LocalMemberTest, RefusesATruncatedMember) {
    world_.drive("/m").platter().resize(layout_.member_size() - 4096);
    expect_refused("/m", Errc::corrupt, "truncated");
}

TEST_F(LocalMemberTest, RefusesWhatIsNoMember) {
    world_.world.add_drive({.path = "/foreign", .size = 100 * kMiB});
    expect_refused("/foreign", Errc::invalid, "not a Gemel member");
    expect_refused("/absent", Errc::not_found, "no such file");
    world_.world.add_drive({.path = "/tiny", .size = 8192});
    expect_refused("/tiny", Errc::invalid, "too small");
}

TEST_F(LocalMemberTest, ARefusedMemberIsNotWrittenTo) {
    damage(0);
    damage(layout_.superblock_b_offset);
    size_t writes = 0;
    world_.world.watch([&writes](const sim::Moment& moment) {
        if (moment.io != IoKind::read) ++writes;
    });
    expect_refused("/m", Errc::corrupt, "");
    EXPECT_EQ(writes, 0u);
}

TEST_F(LocalMemberTest, OpeningChangesNothingBeforeItIsClaimed) {
    size_t writes = 0;
    world_.world.watch([&writes](const sim::Moment& moment) {
        if (moment.io != IoKind::read) ++writes;
    });
    auto opened = world_.run(LocalMember::open(*world_.env, "/m", 1 << 20, pool_));
    ASSERT_TRUE(opened.ok());
    EXPECT_EQ(writes, 0u);
    // Given back unclaimed it counts as closed in order, as before.
    std::move(opened).value().reset();
    world_.world.watch(nullptr);
    open();
    EXPECT_TRUE(member_->closed_cleanly());
}

TEST_F(LocalMemberTest, SaysWhetherItWasClosedInOrder) {
    open();
    member_.reset();
    open();
    EXPECT_FALSE(member_->closed_cleanly());
    ASSERT_TRUE(world_.run(member_->close()).ok());
    member_.reset();
    open();
    EXPECT_TRUE(member_->closed_cleanly());
}

// --- Log and home

TEST_F(LocalMemberTest, ReadsTheNewestVersionFromLogAndHome) {
    open();
    write(10, 4);
    write(12, 1);
    EXPECT_EQ(tag(11), 1u);
    EXPECT_EQ(tag(12), 2u);
    ASSERT_TRUE(checkpoint(2).ok());
    EXPECT_EQ(member_->log_bytes_used(), 0u);
    EXPECT_EQ(member_->tail_sequence(), 3u);
    EXPECT_EQ(tag(11), 1u);
    EXPECT_EQ(tag(12), 2u);
    write(11, 1);
    EXPECT_EQ(tag(11), 3u);
    clear(10, 2);
    EXPECT_EQ(tag(10), 0u);
    EXPECT_EQ(tag(11), 0u);
    EXPECT_EQ(tag(12), 2u);
}

TEST_F(LocalMemberTest, OneReadMixesLogHomeAndZeros) {
    open();
    write(100, 150);
    write(250, 150);
    ASSERT_TRUE(checkpoint(2).ok());
    for (uint64_t block = 105; block < 390; block += 7) write(block);
    clear(200, 20);
    const AlignedBytes data = allocate_aligned(400 * kBlockSize);
    for (const uint64_t first : {uint64_t{50}, uint64_t{99}, uint64_t{100}, uint64_t{203}}) {
        for (const uint64_t count : {1, 2, 3, 4, 5, 17, 256, 400}) {
            std::memset(data.get(), 0xee, count * kBlockSize);
            ASSERT_TRUE(world_.run(member_->read(first, count, data.get())).ok());
            for (uint64_t i = 0; i < count; ++i) {
                uint64_t value = 0;
                std::memcpy(&value, data.get() + i * kBlockSize, sizeof value);
                ASSERT_EQ(value, *tag(first + i)) << first << "+" << i;
            }
        }
    }
}

TEST_F(LocalMemberTest, ReadsFromMemoryAloneWhereThatIsPossible) {
    open();
    write(10, 2);
    const AlignedBytes data = allocate_aligned(4 * kBlockSize);
    EXPECT_TRUE(member_->try_read(10, 2, data.get()));
    EXPECT_TRUE(member_->try_read(9, 4, data.get()));
    EXPECT_TRUE(all_zero({data.get(), kBlockSize}));
    ASSERT_TRUE(checkpoint(1).ok());
    EXPECT_FALSE(member_->try_read(10, 1, data.get()));
    EXPECT_TRUE(member_->try_read(12, 1, data.get()));
}

TEST_F(LocalMemberTest, DamageAtHomeIsNoticedAndNeverReturned) {
    open();
    write(10, 5);
    ASSERT_TRUE(checkpoint(1).ok());
    damage(layout_.home(12));
    EXPECT_EQ(tag(11), 1u);
    EXPECT_FALSE(tag(12).has_value());
    EXPECT_EQ(member_->counters().mismatches, 1u);
    EXPECT_EQ(tag(13), 1u);
    const AlignedBytes data = allocate_aligned(5 * kBlockSize);
    EXPECT_EQ(world_.run(member_->read(10, 5, data.get())).error().code, Errc::corrupt);
    // An overwrite mends it, from the log on.
    write(12);
    EXPECT_EQ(tag(12), 2u);
    ASSERT_TRUE(checkpoint(2).ok());
    EXPECT_EQ(tag(12), 2u);
}

TEST_F(LocalMemberTest, AZeroedOrMisplacedBlockAtHomeIsNoticed) {
    open();
    write(10, 5);
    ASSERT_TRUE(checkpoint(1).ok());
    world_.drive("/m").platter().tamper(layout_.home(10), std::vector<std::byte>(kBlockSize));
    EXPECT_FALSE(tag(10).has_value());
    const auto other = world_.platter("/m", layout_.home(11), kBlockSize);
    world_.drive("/m").platter().tamper(layout_.home(12), other);
    EXPECT_FALSE(tag(12).has_value());
}

TEST_F(LocalMemberTest, AWriteTheDriveLostIsNoticed) {
    open();
    write(10);
    ASSERT_TRUE(checkpoint(1).ok());
    write(10);
    size_t writes = 0;
    sim::Drive& drive = world_.drive("/m");
    world_.world.watch([&](const sim::Moment& moment) {
        const bool home = moment.io == IoKind::write && moment.offset >= layout_.home_offset;
        if (moment.kind != sim::MomentKind::submitting) return;
        drive.faults.lost_write_rate = home ? sim::kCertain : 0;
        writes += home ? 1 : 0;
    });
    ASSERT_TRUE(checkpoint(2).ok());
    EXPECT_EQ(writes, 1u);
    EXPECT_FALSE(tag(10).has_value());
}

TEST_F(LocalMemberTest, AnUnreadableBlockIsTheDevicesErrorAndOnlyThatBlocks) {
    open();
    write(10, 3);
    ASSERT_TRUE(checkpoint(1).ok());
    world_.drive("/m").faults.unreadable_pages = {layout_.home(11) / kBlockSize};
    EXPECT_EQ(tag(10), 1u);
    EXPECT_FALSE(tag(11).has_value());
    EXPECT_EQ(tag(12), 1u);
    EXPECT_EQ(member_->counters().read_errors, 1u);
}

TEST_F(LocalMemberTest, ACheckpointBringsNothingHomeAboveItsSequence) {
    open();
    for (uint64_t i = 0; i < 5; ++i) write(i);
    ASSERT_TRUE(checkpoint(3).ok());
    EXPECT_EQ(member_->tail_sequence(), 4u);
    EXPECT_EQ(member_->log_bytes_used(), 4 * kBlockSize);
    EXPECT_TRUE(all_zero(world_.platter("/m", layout_.home(3), 2 * kBlockSize)));
    for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(tag(i), i + 1);
    ASSERT_TRUE(checkpoint(0).ok());
    EXPECT_EQ(member_->tail_sequence(), 4u);
}

TEST_F(LocalMemberTest, ACheckpointBringsAboutWhatIsWantedHome) {
    open();
    for (uint64_t i = 0; i < 10; ++i) write(i);
    ASSERT_TRUE(checkpoint(10, 3 * kBlockSize).ok());
    EXPECT_EQ(member_->tail_sequence(), 3u);
    while (member_->log_bytes_used() != 0) ASSERT_TRUE(checkpoint(10, 1).ok());
    EXPECT_EQ(member_->tail_sequence(), 11u);
}

TEST_F(LocalMemberTest, TheTailMovesOnlyAfterTheCheckpointIsStable) {
    open();
    for (uint64_t i = 0; i < 5; ++i) write(i);
    uint64_t syncs = 0;
    uint64_t superblocks = 0;
    world_.world.watch([&](const sim::Moment& moment) {
        const bool begins = moment.kind == sim::MomentKind::submitting;
        if (moment.io == IoKind::sync && moment.kind == sim::MomentKind::completing) ++syncs;
        const bool superblock =
            moment.io == IoKind::write &&
            (moment.offset < kSuperblockSize || moment.offset == layout_.superblock_b_offset);
        if (begins && superblock) { EXPECT_EQ(syncs, 2 + superblocks++); }
        if (syncs < 4) { EXPECT_EQ(member_->log_bytes_used(), 10 * kBlockSize); }
    });
    ASSERT_TRUE(checkpoint(5).ok());
    EXPECT_EQ(syncs, 4u);
    EXPECT_EQ(member_->log_bytes_used(), 0u);
}

TEST_F(LocalMemberTest, RingSpaceIsUsedAgainLapAfterLap) {
    open();
    for (uint64_t lap = 0; lap < 12; ++lap) {
        while (member_->has_room(60 * kBlockSize)) write(lap % 3 * 50, 59);
        ASSERT_TRUE(checkpoint(chain_.place.first_sequence - 1, 2 * kMiB).ok());
    }
    EXPECT_GT(chain_.place.first_sequence, 100u);
    EXPECT_TRUE(tag(0).has_value() && tag(100).has_value());
}

TEST_F(LocalMemberTest, KnowsZeroRunsFromTheTableAlone) {
    open();
    const auto run = [this](uint64_t first, uint64_t limit) {
        return world_.run(member_->run_at(first, limit)).value();
    };
    EXPECT_EQ(run(0, 2048).count, 2048u);
    EXPECT_TRUE(run(0, 2048).zero);
    write(600, 10);
    EXPECT_EQ(run(0, 2048).count, 600u);
    EXPECT_FALSE(run(600, 2048).zero);
    EXPECT_EQ(run(600, 2048).count, 10u);
    EXPECT_EQ(run(605, 3).count, 3u);
    ASSERT_TRUE(checkpoint(1).ok());
    clear(602, 3);
    EXPECT_EQ(run(600, 2048).count, 2u);
    EXPECT_TRUE(run(602, 2048).zero);
    EXPECT_EQ(run(602, 2048).count, 3u);
    ASSERT_TRUE(checkpoint(2).ok());
    EXPECT_EQ(run(602, 2048).count, 3u);
    EXPECT_EQ(run(610, 2048 - 610).count, 2048u - 610);
}

TEST_F(LocalMemberTest, KnowsWhatHasItsSpace) {
    open();
    const auto allocated = [this](uint64_t first, uint64_t count) {
        return world_.run(member_->is_allocated(first, count)).value();
    };
    write(10, 3);
    EXPECT_FALSE(allocated(10, 3));  // In the log only.
    ASSERT_TRUE(checkpoint(1).ok());
    EXPECT_TRUE(allocated(10, 3));
    EXPECT_FALSE(allocated(10, 4));
    EXPECT_FALSE(allocated(9, 2));
}

TEST_F(LocalMemberTest, AFailedCheckpointLeavesLogAndOverlayAsTheyWere) {
    open();
    write(10, 3);
    world_.drive("/m").faults.sync_error_rate = sim::kCertain;
    EXPECT_FALSE(checkpoint(1).ok());
    world_.drive("/m").faults.sync_error_rate = 0;
    EXPECT_EQ(member_->tail_sequence(), 1u);
    EXPECT_EQ(member_->log_bytes_used(), 4 * kBlockSize);
    EXPECT_EQ(tag(10), 1u);
    EXPECT_EQ(member_->counters().write_errors, 1u);
}

// --- Epochs

TEST_F(LocalMemberTest, ANewEpochIsOnBothSuperblocksWithTheOnesBefore) {
    open();
    ConfigurationRecord configuration = member_->superblock().configuration;
    std::vector<EpochRecord> history{configuration.epoch};
    for (uint64_t number = 2; number < 70; ++number) {
        configuration.epoch.number = number;
        configuration.epoch.id = fixed_uuid(static_cast<uint8_t>(number));
        ASSERT_TRUE(world_.run(member_->begin_epoch(configuration, history)).ok());
        history.push_back(configuration.epoch);
        const Superblock& superblock = member_->superblock();
        ASSERT_EQ(superblock.epoch_count, std::min<uint64_t>(number, kEpochHistory));
        EXPECT_EQ(superblock.epochs[superblock.epoch_count - 1].number, number);
        EXPECT_EQ(superblock.epochs[0].number, number - superblock.epoch_count + 1);
        EXPECT_EQ(superblock.tail.previous_hash, chain_start(configuration.epoch.id, 0));
    }
    for (const uint64_t place : {uint64_t{0}, layout_.superblock_b_offset}) {
        Superblock copy;
        const auto bytes = world_.platter("/m", place, kSuperblockSize);
        std::memcpy(static_cast<void*>(&copy), bytes.data(), bytes.size());
        EXPECT_EQ(superblock_fault(copy, place), nullptr);
        EXPECT_EQ(copy.configuration.epoch.number, 69u);
    }
}

// --- Crashes

struct Crashed {
    uint64_t flushed = 0;
    uint64_t tail = 1;
};

// Appends, flushes and checkpoints in turn, and notes what has succeeded.
Task<Status> work(Member& member, ChainMaker& chain, Crashed& out) {
    for (uint64_t round = 0; round < 4; ++round) {
        Appender appender(member);
        for (uint64_t i = 0; i < 6; ++i) {
            if (i == 4) {
                appender.append(chain.next({{EntryKind::trim, round * 2, 3, nullptr}}));
            } else {
                appender.append(chain.next_write(i * 3 + round, 2));
            }
        }
        // Appends are answered in any order; a flush after the last one covers all.
        const uint64_t last = chain.place.first_sequence - 1;
        while (member.logged_sequence() < last) {
            const Status waited = co_await member.flush();
            if (!waited.ok()) co_return waited;
        }
        const Status flushed = co_await member.flush();
        if (!flushed.ok()) co_return flushed;
        out.flushed = last;
        if (round == 0) continue;
        const Status home = co_await member.checkpoint(last - 3, UINT64_MAX, 32);
        if (!home.ok()) co_return home;
        out.tail = member.tail_sequence();
    }
    co_return Status::success();
}

// What block `block` must hold after everything up to `last` of work().
uint64_t expected_tag(uint64_t block, uint64_t last) {
    uint64_t tag = 0;
    for (uint64_t sequence = 1; sequence <= last; ++sequence) {
        const uint64_t round = (sequence - 1) / 6;
        const uint64_t i = (sequence - 1) % 6;
        const uint64_t first = i == 4 ? round * 2 : i * 3 + round;
        const uint64_t count = i == 4 ? 3 : 2;
        if (block >= first && block < first + count) tag = i == 4 ? 0 : sequence;
    }
    return tag;
}

// One run with the power failing at the given moment. True if it came to its end before.
bool crash_at(uint64_t seed, uint64_t crash_moment) {
    const auto world_owner = std::make_unique<StoreWorld>(seed);
    StoreWorld* world = world_owner.get();
    auto* pool = new BufferPool(0);
    auto* chain = new ChainMaker;
    auto* state = new Crashed;
    add_quick_member(*world, "/m", small_layout(), fixed_configuration(1), 0);
    LocalMember* member = open_member(*world, "/m", *pool).value().release();
    uint64_t moments = 0;
    world->world.watch([=, &moments](const sim::Moment&) {
        if (moments++ == crash_moment) world->world.kill(*world->env);
    });
    const bool done = world->try_run(work(*member, *chain, *state)).has_value();
    world->world.watch(nullptr);
    world->world.lose_power(0, {&world->drive("/m")});
    world->restart();
    // Nothing of the dead process runs any more; what its coroutines hold stays behind.
    delete member;
    // The chain from the tail on, as far as it goes, then all of it home.
    BufferPool fresh_pool(0);
    auto opened = open_member(*world, "/m", fresh_pool);
    EXPECT_TRUE(opened.ok());
    if (!opened.ok()) return true;
    LocalMember& again = *opened.value();
    EXPECT_GE(again.tail_sequence(), state->tail);
    const LogTail tail = again.superblock().tail;
    ChainLink link{fixed_uuid(0xe0), tail.sequence, tail.previous_hash};
    uint64_t head = tail.ring_offset;
    while (true) {
        const auto found = world->run(again.read_log(head, link));
        EXPECT_TRUE(found.ok());
        if (!found.value().batch) break;
        const BatchRef batch = found.value().batch;
        again.adopt(batch, found.value().offset);
        head = found.value().offset + batch->size();
        link = {link.epoch_id, batch->last_sequence() + 1, batch->hash()};
    }
    const uint64_t last = link.sequence - 1;
    EXPECT_GE(last, state->flushed) << "seed " << seed << " moment " << crash_moment;
    for (int pass = 0; pass < 2; ++pass) {
        for (uint64_t block = 0; block < 24; ++block) {
            const AlignedBytes data = allocate_aligned(kBlockSize);
            const Status read = world->run(again.read(block, 1, data.get()));
            EXPECT_TRUE(read.ok()) << "seed " << seed << " moment " << crash_moment;
            uint64_t tag = 0;
            std::memcpy(&tag, data.get(), sizeof tag);
            EXPECT_EQ(tag, expected_tag(block, last))
                << "seed " << seed << " moment " << crash_moment << " block " << block;
        }
        EXPECT_TRUE(world->run(again.checkpoint(last, UINT64_MAX, 32)).ok());
    }
    return done;
}

// At every request's beginning, middle and end: what was flushed is there, and what is there is
// whole and verified, in the log and, after that, at home.
TEST(LocalMemberCrash, ALossOfPowerAtAnyMomentLeavesEverythingFlushed) {
    for (uint64_t seed = 1; seed <= 2; ++seed) {
        uint64_t moment = 0;
        while (!crash_at(seed, moment)) {
            ASSERT_FALSE(::testing::Test::HasFailure());
            ++moment;
        }
        EXPECT_GT(moment, 100u);
    }
}

}  // namespace
}  // namespace gemel::blockdev
