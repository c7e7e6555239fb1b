// SPDX-License-Identifier: Apache-2.0
//
// Golden bytes: what is on disk today must be readable for ever. Every structure is built by the
// code that writes it, from fixed inputs, and compared with bytes spelled out here. The hash stands
// for the whole structure. A change here needs a new format version.
#include "blockdev/disk_format.h"

#include <gtest/gtest.h>

#include "blockdev/checksum_table.h"
#include "blockdev/member_lock.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::blockdev {
namespace {

template <typename T>
std::string hex_of(const T& structure, size_t offset, size_t length) {
    return hex(bytes_of(structure).subspan(offset, length));
}

TEST(DiskFormat, SizesAndOffsetsStayWhatTheyAre) {
    EXPECT_EQ(kBlockSize, 4096u);
    EXPECT_EQ(kPageBlocks, 512u);
    EXPECT_EQ(kPageSpan, 2u << 20);
    EXPECT_EQ(kSlots, 2u);
    EXPECT_EQ(kFormatVersion, 1u);
    EXPECT_EQ(kMinimumReader, 1u);
    EXPECT_EQ(kIndexEntries, 252u);
    EXPECT_EQ(kRootEntries, 512u);
    EXPECT_EQ(kMaximumMembers, 16u);
    EXPECT_EQ(kEpochHistory, 64u);
    EXPECT_EQ(kOwnerOffset, 16384u);
    EXPECT_EQ(kLogOffset, 1u << 20);
    EXPECT_EQ(sizeof(BatchHeader), 88u);
    EXPECT_EQ(sizeof(LogEntry), 16u);
    EXPECT_EQ(sizeof(IndexPage), 4096u);
    EXPECT_EQ(sizeof(Superblock), 16384u);
    EXPECT_EQ(sizeof(OwnerRecord), 4096u);
    EXPECT_EQ(sizeof(WitnessRecord), 480u);
    EXPECT_EQ(offsetof(Superblock, generation), 24u);
    EXPECT_EQ(offsetof(Superblock, member), 32u);
    EXPECT_EQ(offsetof(Superblock, volume), 48u);
    EXPECT_EQ(offsetof(Superblock, name), 64u);
    EXPECT_EQ(offsetof(Superblock, created_s), 128u);
    EXPECT_EQ(offsetof(Superblock, epoch_count), 712u);
    EXPECT_EQ(offsetof(Superblock, root_count), 716u);
    EXPECT_EQ(offsetof(Superblock, resync), 11472u);
    EXPECT_EQ(offsetof(Superblock, reserved), 11536u);
    EXPECT_EQ(offsetof(BatchHeader, volume), 16u);
    EXPECT_EQ(offsetof(BatchHeader, epoch_id), 32u);
    EXPECT_EQ(offsetof(BatchHeader, previous_hash), 72u);
    EXPECT_EQ(offsetof(BatchHeader, payload_blocks), 80u);
}

TEST(DiskFormat, BatchGoldenBytes) {
    ChainMaker chain;
    chain.place.first_sequence = 0x0102030405060708;
    chain.place.previous_hash = 0x1122334455667788;
    chain.place.commit_point = 0x0a0b;
    chain.place.stable_point = 0x0c;
    AlignedBytes data = allocate_aligned(kBlockSize);
    std::memset(data.get(), 0x77, kBlockSize);
    const BatchRef batch = chain.next({{EntryKind::write, 0x1234, 1, data.get()},
                                       {EntryKind::trim, 5, 0x0607, nullptr},
                                       {EntryKind::write_zeroes, 9, 1, nullptr}});
    ASSERT_EQ(batch->size(), 2 * kBlockSize);
    EXPECT_EQ(hex(batch->bytes().subspan(8, 80)),
              "47424154"  // GBAT
              "0100"
              "0300"                              // version, entries
              "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // volume
              "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"  // epoch id
              "0807060504030201"
              "0b0a000000000000"  // first sequence, commit point
              "0c00000000000000"
              "8877665544332211"  // stable point, previous hash
              "01000000"
              "00000000");  // payload blocks, reserved
    EXPECT_EQ(hex(batch->bytes().subspan(88, 48)),
              "3412000000000000"
              "01000000"
              "0100"
              "0000"
              "0500000000000000"
              "07060000"
              "0200"
              "0000"
              "0900000000000000"
              "01000000"
              "0300"
              "0000");
    EXPECT_EQ(hex(batch->bytes().subspan(136, 8)), "4c3b4c80de23f52d");
    EXPECT_TRUE(all_zero(batch->bytes().subspan(144, kBlockSize - 144)));
    EXPECT_EQ(hex(batch->bytes().first(8)), "cf6ad57d2a822067");
    EXPECT_EQ(ecc::hash64(batch->bytes()), 0x249ac73a8bd766a9);
}

TEST(DiskFormat, PageNameGoldenBytes) {
    const PageName name{5, PageState::data, 1, 0x1122334455667788};
    EXPECT_EQ(hex_of(name.encode(), 0, 16),
              "2d00000000000000"
              "8877665544332211");
    const PageName zero{1, PageState::zero, 0, 0};
    EXPECT_EQ(hex_of(zero.encode(), 0, 16),
              "0a00000000000000"
              "0000000000000000");
    EXPECT_EQ(hex_of(PageName{}.encode(), 0, 16), "00000000000000000000000000000000");
    const PageName back = PageName::decode(name.encode());
    EXPECT_EQ(back.sequence, 5u);
    EXPECT_EQ(back.state, PageState::data);
    EXPECT_EQ(back.slot, 1u);
    EXPECT_EQ(back.checksum, 0x1122334455667788u);
}

Task<Status> write_one_page(ChecksumTable& table, ChecksumPage values) {
    const Status page = co_await table.write_page(2, values, 0x0304);
    if (!page.ok()) co_return page;
    co_return co_await table.write_index();
}

TEST(DiskFormat, ChecksumAndIndexPageGoldenBytes) {
    StoreWorld world;
    const Layout layout = small_layout();
    world.world.add_drive({.path = "/m", .size = layout.member_size()});
    const auto disk = world.open_disk("/m");
    ChecksumTable table(*world.env, *disk, layout, fixed_uuid(0x10), 0);
    ChecksumPage values{};
    for (uint64_t i = 0; i < kPageBlocks; ++i) values.values[i] = 0x0100 + i;
    ASSERT_TRUE(world.run(write_one_page(table, values)).ok());

    const auto page = world.platter("/m", layout.checksum_page_offset(2, 0), kBlockSize);
    EXPECT_EQ(hex(std::span(page).first(24)),
              "0001000000000000"
              "0101000000000000"
              "0201000000000000");
    const auto index = world.platter("/m", layout.index_page_offset(0, 0), kBlockSize);
    EXPECT_EQ(hex(std::span(index).subspan(8, 16)),
              "47494458"
              "01000000"
              "0000000000000000");  // GIDX, level, number
    EXPECT_TRUE(all_zero(std::span(index).subspan(24, 40 + 2 * 16)));
    EXPECT_EQ(hex(std::span(index).subspan(96, 8)), "2418000000000000");  // 0x304 << 3 | 2 << 1
    EXPECT_EQ(hex(std::span(index).subspan(104, 8)), "cfd9ecb85233bfde");
    EXPECT_EQ(ecc::hash64(index), 0xadbfe014ecf300b3);
    const auto upper = world.platter("/m", layout.root_page_offset(0, 0), kBlockSize);
    EXPECT_EQ(hex(std::span(upper).subspan(8, 16)),
              "47494458"
              "02000000"
              "0000000000000000");
    EXPECT_EQ(hex(std::span(upper).subspan(64, 8)), "2418000000000000");
    EXPECT_EQ(ecc::hash64(upper), 0x2ba3bed4226a6f80);
    ASSERT_EQ(table.roots().size(), 1u);
    EXPECT_EQ(hex_of(table.roots()[0], 0, 8), "2418000000000000");
}

// A member of two, as creation leaves it.
class FormattedMember : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(
            world_.run(format_member(*world_.env, "/m", small_layout(), fixed_configuration(2), 1))
                .ok());
    }
    StoreWorld world_;
};

TEST_F(FormattedMember, SuperblockGoldenBytes) {
    const auto bytes = world_.platter("/m", 0, kSuperblockSize);
    const std::span<const std::byte> all(bytes);
    EXPECT_EQ(hex(all.subspan(8, 128)),
              "47454d454c303100"
              "01000000"
              "01000000"                          // GEMEL01, versions
              "0200000000000000"                  // generation
              "202122232425262728292a2b2c2d2e2f"  // member
              "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // volume
              "766f6c0000000000"
              "0000000000000000"  // vol
              "0000000000000000"
              "0000000000000000"
              "0000000000000000"
              "0000000000000000"
              "0000000000000000"
              "0000000000000000"
              "00f1536500000000");  // created
    EXPECT_EQ(hex(all.subspan(136, 72)),
              "0000000200000000"  // at most 32 MiB
              "0000100000000000"
              "0000400000000000"  // log at 1 MiB, of 4 MiB
              "0000500000000000"
              "0020500000000000"
              "0040500000000000"
              "0040520000000000"
              "0000600000000000"  // B, home
              "00000100"
              "00000000");  // log limit, flags
    EXPECT_EQ(hex(all.subspan(208, 32)),
              "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f");
    EXPECT_EQ(hex(all.subspan(240, 16)),
              "0000000000000000"
              "0100000000000000");
    EXPECT_EQ(hex(all.subspan(264, 64)),
              "0100000000000000"
              "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
              "0100000000000000"
              "0000000000000000"  // first sequence, previous hash
              "0100000000000000"
              "00000000"
              "02000000"            // version, mode, members
              "0000800000000000");  // 8 MiB
    EXPECT_EQ(hex(all.subspan(328, 48)),
              "101112131415161718191a1b1c1d1e1f"
              "0000000000000000"
              "202122232425262728292a2b2c2d2e2f"
              "0000000000000000");
    EXPECT_TRUE(all_zero(all.subspan(376, 712 - 376)));
    EXPECT_EQ(hex(all.subspan(712, 8)),
              "01000000"
              "01000000");
    EXPECT_EQ(hex(all.subspan(720, 40)), hex(all.subspan(264, 40)));
    EXPECT_TRUE(all_zero(all.subspan(760)));
    EXPECT_EQ(ecc::hash64(all), 0x347872c948e2e7f4);
}

TEST_F(FormattedMember, SuperblocksLieAtBothPlacesUnderTheirOwnChecksums) {
    const auto a = world_.platter("/m", 0, kSuperblockSize);
    const auto b = world_.platter("/m", small_layout().superblock_b_offset, kSuperblockSize);
    Superblock first;
    Superblock second;
    std::memcpy(static_cast<void*>(&first), a.data(), a.size());
    std::memcpy(static_cast<void*>(&second), b.data(), b.size());
    EXPECT_EQ(superblock_fault(first, 0), nullptr);
    EXPECT_EQ(superblock_fault(second, small_layout().superblock_b_offset), nullptr);
    EXPECT_STREQ(superblock_fault(first, small_layout().superblock_b_offset), "checksum");
    EXPECT_EQ(first.generation, 2u);
    EXPECT_EQ(second.generation, 1u);
}

TEST_F(FormattedMember, OwnerRecordGoldenBytes) {
    const auto bytes = world_.platter("/m", kOwnerOffset, kBlockSize);
    const std::span<const std::byte> all(bytes);
    EXPECT_EQ(hex(all.subspan(8, 64)),
              "474f574e"
              "01000000"                          // GOWN, version
              "202122232425262728292a2b2c2d2e2f"  // member
              "0000000000000000"
              "00ca9a3b00000000"  // closed; start time
              "0100000000000000"
              "0000000000000000"    // boot id
              "0040520000000000");  // superblock B
    EXPECT_TRUE(all_zero(all.subspan(72)));
    EXPECT_EQ(ecc::hash64(all), 0x6cb093c5c4181ef5);
}

TEST_F(FormattedMember, TheLogIsReallyWrittenAndHomeIsAHole) {
    const Layout layout = small_layout();
    sim::Platter& platter = world_.drive("/m").platter();
    EXPECT_EQ(platter.holes(kLogOffset / kBlockSize, layout.log_size / kBlockSize), 0u);
    EXPECT_EQ(platter.holes(layout.home_offset / kBlockSize, layout.volume_blocks()),
              layout.volume_blocks());
}

TEST(DiskFormat, SeedsAndChainStartsStayWhatTheyAre) {
    EXPECT_EQ(place_seed(fixed_uuid(0x10), 4096), 0x41bbded7c67166bc);
    EXPECT_EQ(chain_start(fixed_uuid(0xe0), 7), 0xda8d8f58b07f34e7);
    EXPECT_NE(chain_start(fixed_uuid(0xe0), 7), chain_start(fixed_uuid(0xe1), 7));
    EXPECT_NE(chain_start(fixed_uuid(0xe0), 7), chain_start(fixed_uuid(0xe0), 8));
    AlignedBytes block = allocate_zeroed(kBlockSize);
    EXPECT_EQ(ecc::BlockHasher(fixed_secret()).checksum(1, block.get()), 0xe7cf049af3454cba);
}

}  // namespace
}  // namespace gemel::blockdev
