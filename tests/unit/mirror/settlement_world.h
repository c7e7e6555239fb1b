// SPDX-License-Identifier: Apache-2.0
//
// Members of a volume as a crash has left them: whose batches are in the rings, put there by hand.
#pragma once

#include <gtest/gtest.h>

#include "mirror/configuration.h"
#include "mirror/settlement.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {

using blockdev::BatchRef;
using blockdev::ChainMaker;
using blockdev::EntryKind;
using blockdev::kBlockSize;
using blockdev::LocalMember;
using blockdev::Member;
using blockdev::StoreWorld;

inline constexpr uint64_t kBlocks = 64;  // That the tests write to.

// A volume of some members. Batches are put into their rings by hand.
class Crashed {
public:
    explicit Crashed(size_t count, uint64_t seed = 1, sim::FileSystem* space = nullptr)
        : world(seed), chain(blockdev::fixed_configuration(count).epoch) {
        configuration = blockdev::fixed_configuration(count);
        for (size_t i = 0; i < count; ++i) {
            blockdev::add_quick_member(world, path(i), layout, configuration, i, space);
        }
        open();
        members.clear();  // Not closed in order.
    }
    static std::string path(size_t index) { return "/m" + std::to_string(index); }

    // The next batch of the chain, at its place in every ring.
    size_t add(std::vector<blockdev::BatchWrite> writes) {
        const BatchRef batch = chain.next(std::move(writes));
        return place(batch);
    }
    size_t add_write(uint64_t block, uint32_t count) {
        return place(chain.next_write(block, count));
    }
    size_t place(BatchRef batch) {
        const uint64_t offset = blockdev::ring_place(layout.log_size, head, batch->size());
        head = offset + batch->size();
        batches.push_back(std::move(batch));
        offsets.push_back(offset);
        return batches.size() - 1;
    }
    void put(size_t member, size_t index) {
        world.drive(path(member))
            .platter()
            .tamper(blockdev::kLogOffset + offsets[index], batches[index]->bytes());
    }
    bool ring_holds(size_t member, size_t index) {
        const auto bytes = world.platter(path(member), blockdev::kLogOffset + offsets[index],
                                         batches[index]->size());
        return std::memcmp(bytes.data(), batches[index]->bytes().data(), bytes.size()) == 0;
    }

    void open() {
        members.clear();
        for (size_t i = 0; i < configuration.member_count; ++i) {
            auto opened = blockdev::open_member(world, path(i), *pool);
            ASSERT_TRUE(opened.ok()) << opened.error().text;
            members.push_back(std::move(opened).value());
        }
    }
    std::vector<Member*> pointers() const {
        std::vector<Member*> result;
        for (const auto& member : members) result.push_back(member.get());
        return result;
    }
    Outcome<Settled> settle_now() {
        open();
        const std::vector<Member*> all = pointers();
        return world.run(settle(all, {}, chain.place.epoch_id));
    }
    // The next epoch on all members, as opening a volume begins it.
    void begin_epoch(const Settled& settled) {
        const std::vector<blockdev::EpochRecord> history{configuration.epoch};
        configuration =
            next_epoch(*world.env, configuration, settled.last_sequence + 1, settled.chain_hash);
        for (auto& member : members) {
            ASSERT_TRUE(world.run(member->begin_epoch(configuration, history)).ok());
        }
        chain.place.epoch_id = configuration.epoch.id;
        chain.place.first_sequence = configuration.epoch.first_sequence;
        chain.place.previous_hash =
            blockdev::chain_start(configuration.epoch.id, configuration.epoch.previous_hash);
    }

    // What each block holds after the first `count` batches: the sequence number of its write.
    std::vector<uint64_t> model(size_t count) const {
        std::vector<uint64_t> tags(kBlocks);
        for (size_t i = 0; i < count; ++i) {
            for (const blockdev::LogEntry& entry : batches[i]->entries()) {
                const bool write = entry.kind == static_cast<uint16_t>(EntryKind::write);
                for (uint64_t b = 0; b < entry.block_count; ++b) {
                    tags[entry.first_block + b] = write ? batches[i]->first_sequence() : 0;
                }
            }
        }
        return tags;
    }
    // Every member is at the end of the first `count` batches, with an empty log, all of it home.
    void expect_settled(size_t count) {
        const uint64_t last = count == 0 ? 0 : batches[count - 1]->last_sequence();
        const std::vector<uint64_t> expected = model(count);
        for (const auto& member : members) {
            EXPECT_EQ(member->tail_sequence(), last + 1);
            EXPECT_EQ(member->log_bytes_used(), 0u);
            const AlignedBytes data = allocate_aligned(kBlocks * kBlockSize);
            ASSERT_TRUE(world.run(member->read(0, kBlocks, data.get())).ok());
            for (uint64_t block = 0; block < kBlocks; ++block) {
                uint64_t tag = 0;
                std::memcpy(&tag, data.get() + block * kBlockSize, sizeof tag);
                ASSERT_EQ(tag, expected[block]) << member->path() << " block " << block;
            }
            const auto home =
                world.platter(member->path(), layout.home_offset, kBlocks * kBlockSize);
            ASSERT_EQ(std::memcmp(home.data(), data.get(), home.size()), 0);
        }
    }

    const blockdev::Layout layout = blockdev::small_layout();
    StoreWorld world;
    std::unique_ptr<blockdev::BufferPool> pool = std::make_unique<blockdev::BufferPool>(0);
    ChainMaker chain;
    blockdev::ConfigurationRecord configuration;
    std::vector<BatchRef> batches;
    std::vector<uint64_t> offsets;
    uint64_t head = 0;
    std::vector<std::unique_ptr<LocalMember>> members;
};

}  // namespace gemel::mirror
