// SPDX-License-Identifier: Apache-2.0
//
// Every structure of a member on disk. blockdev/README.md has the picture and the grammar; nothing
// here may change without a new version. Little-endian, alignment 1, reserved bytes are zero.
//
// Invariants: a batch holds the same bytes on every member; every other structure is bound to its
// member and its place, by the seed of its checksum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "blockdev/bytes.h"
#include "blockdev/uuid.h"
#include "ecc/checksum.h"

namespace gemel::blockdev {

inline constexpr uint64_t kBlockSize = ecc::kBlockSize;
inline constexpr uint64_t kPageBlocks = 512;                     // Blocks per checksum page.
inline constexpr uint64_t kPageSpan = kPageBlocks * kBlockSize;  // 2 MiB of data.
inline constexpr uint64_t kSlots = 2;

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kMinimumReader = 1;  // The oldest reader that understands this.
inline constexpr uint64_t kSuperblockMagic = 0x31304c454d4547ull;  // "GEMEL01"
inline constexpr uint32_t kBatchMagic = 0x54414247;                // "GBAT"
inline constexpr uint32_t kIndexMagic = 0x58444947;                // "GIDX"
inline constexpr uint32_t kOwnerMagic = 0x4e574f47;                // "GOWN"
inline constexpr uint32_t kWitnessMagic = 0x54495747;              // "GWIT"

inline constexpr size_t kMaximumMembers = 16;
inline constexpr size_t kEpochHistory = 64;

// --- Configuration

// One reign of one primary.
struct EpochRecord {
    le64 number;
    Uuid id;              // Random.
    le64 first_sequence;  // The first write numbered in it.
    le64 previous_hash;   // Of the batch before; what the first batch chains from is
                          // chain_start(id, previous_hash).
};
static_assert(sizeof(EpochRecord) == 40);
static_assert(offsetof(EpochRecord, first_sequence) == 24);

enum class ConsistencyMode : uint32_t { sync = 0 };
// What the volume has decided about a member. Only those in sync hold everything; the others are
// brought up to date (or left alone, as they say) and are never trusted at open.
enum class ConfiguredState : uint32_t {
    in_sync = 0,
    behind = 1,   // Failed or missing, or on its way back.
    adding = 2,   // Never in sync so far.
    offline = 3,  // Taken out by the operator, who also brings it back.
    spare = 4,    // Holds nothing; takes the place of one that fails.
};

// A spare stands in for regular ones while they are away, and holds nothing in between.
enum class MemberRole : uint16_t { regular = 0, spare = 1 };

struct ConfiguredMember {
    Uuid uuid;
    le32 state;     // ConfiguredState
    le16 role;      // MemberRole
    le16 replaces;  // Place, from 1, of whom leaves the list once this one is in sync; 0: nobody.
};
static_assert(sizeof(ConfiguredMember) == 24);

struct ConfigurationRecord {
    EpochRecord epoch;
    le64 version;  // Counts changes within the epoch.
    le32 mode;     // ConsistencyMode
    le32 member_count;
    le64 volume_size;  // Bytes; grows online.
    ConfiguredMember members[kMaximumMembers];
};
static_assert(sizeof(ConfigurationRecord) == 448);
static_assert(offsetof(ConfigurationRecord, members) == 64);

// The witness file: the newest configuration and nothing else.
struct WitnessRecord {
    le64 checksum;  // XXH3-64 of everything after this field.
    le32 magic;
    le32 version;
    Uuid volume;
    ConfigurationRecord configuration;
};
static_assert(sizeof(WitnessRecord) == 480);

// --- Checksum pages and their index

// Names one version of a page: a checksum page, or an index page one level below.
struct IndexEntry {
    le64 word;      // Newest sequence number << 3 | PageState << 1 | slot.
    le64 checksum;  // Of the page in that slot; 0 unless the state is data.
};
static_assert(sizeof(IndexEntry) == 16);

enum class PageState : uint8_t {
    never_written = 0,  // The whole word is 0.
    zero = 1,           // All its blocks are zero; no page is stored.
    data = 2,
};

inline constexpr size_t kIndexEntries = 252;

// Level 1 names checksum pages, level 2 names level 1; the superblock's roots name level 2.
struct IndexPage {
    le64 checksum;  // XXH3-64 of everything after it, seeded with place_seed().
    le32 magic;
    le32 level;
    le64 number;  // Which page of its level.
    uint8_t reserved[40];
    IndexEntry entries[kIndexEntries];
};
static_assert(sizeof(IndexPage) == kBlockSize);
static_assert(offsetof(IndexPage, entries) == 64);

// A checksum page has no header: its own checksum stands in the index. Value 0: the block is zero.
struct ChecksumPage {
    le64 values[kPageBlocks];
};
static_assert(sizeof(ChecksumPage) == kBlockSize);

// Sequence numbers fit into an entry's word, with room for all that are yet to come.
inline constexpr uint64_t kMaximumSequence = 1ull << 60;

// --- Superblock

inline constexpr uint64_t kSuperblockSize = 16384;
inline constexpr size_t kRootEntries = 512;
// 512 roots x 252 x 252 checksum pages x 2 MiB.
inline constexpr uint64_t kMaximumVolumeSize =
    kRootEntries * kIndexEntries * kIndexEntries * kPageSpan;

// Where the oldest batch that is not home yet begins.
struct LogTail {
    le64 ring_offset;    // Within the ring, in bytes.
    le64 sequence;       // Its first sequence number, or the next one to be given.
    le64 previous_hash;  // What it chains from.
};
static_assert(sizeof(LogTail) == 24);

// Fixed for the life of a member. How much of it is in use the configuration says.
struct GeometryRecord {
    le64 maximum_size;  // Of the volume: what the tables were laid out for.
    le64 log_offset;
    le64 log_size;
    le64 root_offset;      // Level 2 of the index, two slots a page.
    le64 index_offset;     // Level 1.
    le64 checksum_offset;  // Checksum pages.
    le64 superblock_b_offset;
    le64 home_offset;
    le32 log_limit;  // Writes up to this many bytes are atomic.
    le32 flags;      // kPreallocated
};
static_assert(sizeof(GeometryRecord) == 72);
inline constexpr uint32_t kPreallocated = 1;

enum class ResyncState : uint32_t { none = 0, running = 1 };

// How far a member that is being brought up to date has come. All zero while none is under way.
struct ResyncRecord {
    le32 state;  // ResyncState
    le32 reserved;
    Uuid base_epoch;     // The last write that it had in common with the volume. Frozen until the
    le64 base_sequence;  // member is in sync again, whatever happens meanwhile. 0: nothing.
    le64 covered_sequence;  // The pages before the cursor have all writes up to this one,
    le64 cursor_page;       // those from it on up to the base only.
    le64 window_begin;      // Pages that may be half copied: their blocks need not be what their
    le64 window_end;        // checksums say.
};
static_assert(sizeof(ResyncRecord) == 64);
static_assert(offsetof(ResyncRecord, base_sequence) == 24);
static_assert(offsetof(ResyncRecord, window_begin) == 48);

struct Superblock {
    le64 checksum;  // XXH3-64 of everything after it, seeded with its own offset.
    le64 magic;
    le32 version;
    le32 minimum_reader;
    le64 generation;  // The valid copy with the higher one counts.
    Uuid member;
    Uuid volume;
    char name[64];   // The volume's; zero-padded.
    le64 created_s;  // Seconds since 1970, for people.
    GeometryRecord geometry;
    ecc::VolumeSecret secret;
    LogTail tail;
    ConfigurationRecord configuration;
    le32 epoch_count;
    le32 root_count;
    EpochRecord epochs[kEpochHistory];  // The last ones, oldest first.
    IndexEntry roots[kRootEntries];
    ResyncRecord resync;
    uint8_t reserved[4848];
};
static_assert(offsetof(Superblock, member) == 32);
static_assert(offsetof(Superblock, geometry) == 136);
static_assert(offsetof(Superblock, secret) == 208);
static_assert(offsetof(Superblock, tail) == 240);
static_assert(offsetof(Superblock, configuration) == 264);
static_assert(offsetof(Superblock, epochs) == 720);
static_assert(offsetof(Superblock, roots) == 3280);
static_assert(offsetof(Superblock, resync) == 11472);
static_assert(sizeof(Superblock) == kSuperblockSize);

// Who has the member open: lets the next one tell a dead owner, whose lock is about to go, from a
// live one. It also says where superblock B lies, for the day when A is damaged.
struct OwnerRecord {
    le64 checksum;  // XXH3-64 of everything after it, seeded with its own offset.
    le32 magic;
    le32 version;
    Uuid member;
    le64 pid;  // 0: closed.
    le64 start_time;
    le64 boot_id[2];
    le64 superblock_b_offset;
    uint8_t reserved[4024];
};
static_assert(sizeof(OwnerRecord) == kBlockSize);

// --- Log

enum class EntryKind : uint16_t {
    none = 0,          // Carries the header's points only.
    write = 1,         // block_count payload blocks.
    trim = 2,          // Reads as zeros; space may go.
    write_zeroes = 3,  // Reads as zeros; space stays.
    intent = 4,        // Reserved: a large write that goes straight home. Refused by name.
};

// One write. Its sequence number is the batch's first one plus its index.
struct LogEntry {
    le64 first_block;
    le32 block_count;
    le16 kind;  // EntryKind
    le16 reserved;
};
static_assert(sizeof(LogEntry) == 16);

// Followed in the same block by `entries` LogEntry, then `payload_blocks` checksums (le64), then
// zeros; after the block come the payload blocks in the order of the entries.
struct BatchHeader {
    le64 checksum;  // XXH3-64 of the rest of this block; also the batch's hash.
    le32 magic;
    le16 version;
    le16 entries;
    Uuid volume;
    Uuid epoch_id;
    le64 first_sequence;
    le64 commit_point;  // As known when the batch was formed.
    le64 stable_point;  // A hole at or below this is damage.
    le64 previous_hash;
    le32 payload_blocks;
    le32 reserved;
};
static_assert(sizeof(BatchHeader) == 88);
static_assert(offsetof(BatchHeader, first_sequence) == 48);
static_assert(alignof(BatchHeader) == 1 && std::is_trivially_copyable_v<BatchHeader>);

inline constexpr uint32_t kMaximumPayloadBlocks = 256;
inline constexpr uint64_t kMaximumBatchSize = (1 + kMaximumPayloadBlocks) * kBlockSize;
// Of the header block, what entries and checksums may take together.
inline constexpr size_t kBatchIndexBytes = kBlockSize - sizeof(BatchHeader);
static_assert(kMaximumPayloadBlocks * sizeof(le64) + sizeof(LogEntry) <= kBatchIndexBytes);

// What seeds the checksum of a structure at `offset` of `member`.
inline uint64_t place_seed(const Uuid& member, uint64_t offset) {
    return ecc::hash64(bytes_of(member), offset);
}

// What the first batch of an epoch chains from: a voided tail of an earlier reign never matches.
inline uint64_t chain_start(const Uuid& epoch_id, uint64_t previous_hash) {
    return ecc::hash64(bytes_of(epoch_id), previous_hash);
}

}  // namespace gemel::blockdev
