// SPDX-License-Identifier: Apache-2.0
//
// That damage falls only where the member's own structures say something is, and anywhere there.
#include "blockdev/damage_targets.h"

#include <set>

#include "blockdev/checksum_table.h"
#include "tests/unit/blockdev/damage_world.h"

namespace gemel::blockdev {
namespace {

std::vector<Place> places_of(const TargetList& list) {
    std::vector<Place> places;
    for (const TargetRun& run : list.runs()) {
        for (uint64_t i = 0; i < run.count; ++i) places.push_back(run.at(i));
    }
    return places;
}

std::vector<uint64_t> numbers_of(const std::vector<Place>& places) {
    std::vector<uint64_t> numbers;
    for (const Place& place : places) numbers.push_back(place.number);
    return numbers;
}

class DamageTargetsTest : public DamageWorld {
protected:
    std::vector<Place> find(std::optional<Structure> into, Structure of,
                            std::optional<NumberRange> range = {}) {
        const auto disk = world_.open_disk("/m");
        const auto reading = world_.run(read_superblocks(*disk));
        CHECK(reading.ok());
        const TargetOptions options{into, range};
        const Targets targets = world_.run(list_targets(*disk, reading.value(), options));
        return places_of(targets[static_cast<size_t>(of)]);
    }
    std::vector<Place> find(Structure structure, std::optional<NumberRange> range = {}) {
        return find(structure, structure, range);
    }
    PageName name_of(uint64_t page) {
        const auto disk = world_.open_disk("/m");
        const auto reading = world_.run(read_superblocks(*disk));
        const Superblock& superblock = *reading.value().superblock;
        ChecksumTable table(*world_.env, *disk, layout_, superblock.member, 1 << 20);
        table.load_roots({superblock.roots, superblock.root_count});
        return world_.run(table.page_name(page)).value();
    }
};

TEST_F(DamageTargetsTest, AFreshMemberHasSuperblocksOnly) {
    close();
    for (const Structure structure : kAllStructures) {
        const std::vector<Place> found = find(std::nullopt, structure);
        EXPECT_EQ(found.empty(), structure != Structure::superblock) << name(structure);
    }
}

TEST_F(DamageTargetsTest, DataIsWhatTheTablesSayHoldsData) {
    fill();
    const std::vector<Place> found = find(Structure::data);
    EXPECT_EQ(numbers_of(found), filled_blocks());
    for (const Place& place : found) EXPECT_EQ(place.offset, layout_.home(place.number));
    EXPECT_EQ(numbers_of(find(Structure::data, NumberRange{9, 1030})),
              (std::vector<uint64_t>{9, 700, 1030}));
    EXPECT_TRUE(find(Structure::data, NumberRange{10, 699}).empty());
}

TEST_F(DamageTargetsTest, ChecksumPagesAreThoseInTheLiveSlot) {
    write(0);
    checkpoint();
    fill();  // Page 0 has moved to its other slot.
    const std::vector<Place> found = find(Structure::checksum);
    EXPECT_EQ(numbers_of(found), (std::vector<uint64_t>{0, 1, 2}));
    for (const Place& place : found) {
        const PageName name = name_of(place.number);
        EXPECT_EQ(place.slot, name.slot);
        EXPECT_EQ(place.slot, place.number == 0 ? 1u : 0u);
        EXPECT_EQ(place.offset, layout_.checksum_page_offset(place.number, name.slot));
    }
    EXPECT_EQ(numbers_of(find(Structure::checksum, NumberRange{1, 1})), (std::vector<uint64_t>{1}));
}

TEST_F(DamageTargetsTest, IndexPagesAreThoseInTheLiveSlot) {
    write(0);
    checkpoint();
    fill();
    const std::vector<Place> found = find(Structure::index);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].level, 2);
    EXPECT_EQ(found[0].offset, layout_.root_page_offset(0, found[0].slot));
    EXPECT_EQ(found[0].slot, 1u);
    EXPECT_EQ(found[1].level, 1);
    EXPECT_EQ(found[1].offset, layout_.index_page_offset(0, found[1].slot));
    EXPECT_EQ(found[1].slot, 1u);
    const std::vector<Place> lower = find(Structure::index, NumberRange{0, 0});
    ASSERT_EQ(lower.size(), 1u);
    EXPECT_EQ(lower[0].level, 1);
}

TEST_F(DamageTargetsTest, TheLogIsFromTheTailToTheHead) {
    fill();
    // The checkpoint's four batches are behind the tail: 5 with two blocks, 6 with one.
    const std::vector<Place> found = find(Structure::log);
    EXPECT_EQ(numbers_of(found), (std::vector<uint64_t>{5, 5, 5, 6, 6}));
    EXPECT_TRUE(found[0].is_batch_header);
    EXPECT_FALSE(found[1].is_batch_header);
    EXPECT_TRUE(found[3].is_batch_header);
    for (size_t i = 1; i < found.size(); ++i) {
        EXPECT_EQ(found[i].offset, found[0].offset + i * kBlockSize);
    }
    EXPECT_EQ(numbers_of(find(Structure::log, NumberRange{6, 100})), (std::vector<uint64_t>{6, 6}));
}

TEST_F(DamageTargetsTest, SuperblocksAreWhatIsNotReservedInThem) {
    fill();
    const std::vector<Place> found = find(Structure::superblock);
    ASSERT_EQ(found.size(), 2u);  // With one root, all is in the first block.
    EXPECT_EQ(found[0].offset, 0u);
    EXPECT_EQ(found[0].number, 0u);
    EXPECT_EQ(found[1].offset, layout_.superblock_b_offset);
    EXPECT_EQ(found[1].number, 1u);
}

TEST_F(DamageTargetsTest, WhatIsDamagedLeadsNowhere) {
    fill();
    const std::vector<std::byte> zeros(kBlockSize);
    sim::Platter& platter = world_.drive("/m").platter();
    platter.tamper(layout_.checksum_page_offset(0, 0), zeros);
    EXPECT_EQ(numbers_of(find(Structure::checksum)), (std::vector<uint64_t>{1, 2}));
    EXPECT_EQ(numbers_of(find(Structure::data)).front(), 700u);
    platter.tamper(find(Structure::index)[1].offset, zeros);
    EXPECT_TRUE(find(Structure::checksum).empty());
    EXPECT_EQ(find(Structure::index).size(), 1u);
    platter.tamper(0, zeros);
    EXPECT_EQ(find(Structure::superblock).size(), 1u);
}

TEST(TargetList, DrawsEachPlaceOnce) {
    for (const uint64_t seed : {1, 2, 3}) {
        TargetList list;
        Place place{.structure = Structure::data};
        std::set<uint64_t> expected;
        for (const uint64_t first : {5, 20, 21, 40}) {
            place.number = first;
            place.offset = first * kBlockSize;
            const uint64_t count = first == 40 ? 7 : 1;
            list.add(place, count);
            for (uint64_t i = 0; i < count; ++i) expected.insert(first + i);
        }
        EXPECT_EQ(list.runs().size(), 3u);
        Random random(seed);
        std::set<uint64_t> drawn;
        while (list.left() != 0) {
            const Place next = list.draw(random);
            EXPECT_EQ(next.offset, next.number * kBlockSize);
            EXPECT_TRUE(drawn.insert(next.number).second);
        }
        EXPECT_EQ(drawn, expected);
    }
}

}  // namespace
}  // namespace gemel::blockdev
