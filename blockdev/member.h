// SPDX-License-Identifier: Apache-2.0
//
// Member: one replica's storage, as the volume sees it, wherever it lies.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blockdev/batch.h"
#include "blockdev/disk.h"
#include "blockdev/disk_format.h"
#include "blockdev/health_record.h"
#include "blockdev/layout.h"
#include "blockdev/log_ring.h"
#include "blockdev/table_source.h"
#include "blockdev/task.h"
#include "blockdev/watched_disk.h"

namespace gemel::blockdev {

// One batch on its way into one member's log. Lives with the volume until `done` has run.
struct AppendRequest {
    BatchRef batch;
    Continuation done;  // Posted once the batch is logged, or `status` says why not.
    Status status;
    void* writer = nullptr;  // The rest is the member's, while in flight.
    void* log_record = nullptr;
    IoSegment segment;
    IoRequest io;
};

// Blocks that share one property.
struct BlockRun {
    uint64_t count = 0;
    bool zero = false;  // Known to be zero without reading.
};

// Content where the table says that a block is zero.
struct StrayBlock {
    uint64_t block = 0;
    uint64_t checksum = 0;  // Of what was there.
};

// Those that MemberHealth has as well go on from what it says at open.
struct MemberCounters {
    uint64_t blocks_read = 0;
    uint64_t blocks_verified = 0;
    uint64_t mismatches = 0;
    uint64_t read_errors = 0;
    uint64_t write_errors = 0;
    uint64_t checkpoints = 0;
    uint64_t blocks_healed = 0;
    uint64_t tables_repaired = 0;  // Checksum and index pages.
    // Damaged batches in the ring, superblocks, owner and health records, written again.
    uint64_t log_blocks_healed = 0;
};

// Errors of the device come back as they are; the caller decides what becomes of the member.
// All calls on one thread. Blocks are numbered within the volume.
class Member {
public:
    virtual ~Member() = default;

    virtual const std::string& path() const = 0;
    // As last written, or as found at open.
    virtual const Superblock& superblock() const = 0;
    virtual const Layout& layout() const = 0;
    virtual const DiskTraits& traits() const = 0;
    virtual const MemberCounters& counters() const = 0;
    virtual MemberProgress progress() const = 0;
    // Called once when a flush has failed, whoever asked for it: what the device dropped then, no
    // later flush makes durable, so the member is of no use as it is.
    virtual void set_on_flush_failure(std::function<void(Error)> call) = 0;
    // It was open before: goes on from what was counted then.
    virtual void resume_counters(const MemberCounters& before) = 0;

    // --- Log. Batches are appended in order; `append` never fails at once. has_room() first.
    virtual bool has_room(uint64_t batch_bytes) const = 0;
    virtual void append(AppendRequest& request) = 0;
    // Everything up to here has been logged without a gap.
    virtual uint64_t logged_sequence() const = 0;
    virtual uint64_t log_bytes_used() const = 0;
    // Makes everything whose append (or other write) had completed before the call durable.
    virtual Task<Status> flush() = 0;

    // --- Home. Nothing above `sequence` is brought home; space in the log is free afterwards. At
    // most about `bytes_wanted` are moved per call, with up to `window` home writes in flight.
    // Errc::no_space leaves everything as it was.
    virtual Task<Status> checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t window) = 0;
    // The first sequence number that is not home.
    virtual uint64_t tail_sequence() const = 0;

    // --- Reading: the newest version, from the log's memory or from home, verified. `out` is
    // aligned for direct I/O. The caller keeps writes to these blocks away as long as he cares for
    // the answer; where some came in between it may be Errc::stale.
    virtual Task<Status> read(uint64_t first_block, uint64_t count, std::byte* out) = 0;
    // Serves the read if that needs no I/O at all.
    virtual bool try_read(uint64_t first_block, uint64_t count, std::byte* out) = 0;
    // How the blocks from first_block on (at most `limit`) begin.
    virtual Task<Result<BlockRun>> run_at(uint64_t first_block, uint64_t limit) = 0;
    // Whether each of the blocks already has its space at home.
    virtual Task<Result<bool>> is_allocated(uint64_t first_block, uint64_t count) = 0;
    // What its file system could still give; UINT64_MAX where space cannot run out.
    virtual Result<uint64_t> free_bytes() const = 0;

    // --- Repair. Everything found damaged is counted; the caller keeps writes to the blocks away.
    // Rewrites the home copy of a block with the content that its checksum demands, and reads it
    // back. Errc::stale, and nothing is done, if this member's checksum demands another one;
    // success, and nothing is done, if the home copy does not count: the newest is in the log, or
    // zero.
    virtual Task<Status> rewrite(uint64_t block, const std::byte* data) = 0;
    // The checksums of a page as this member knows them.
    virtual Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) = 0;
    // The same although this member's copy of the page is damaged: if these, which were found
    // elsewhere, are what its index names.
    virtual Task<Status> page_values_if(uint64_t page, PageVersion version,
                                        const ChecksumPage& found, PageValues& out) = 0;
    // What lies in a slot of the page, whatever it is worth.
    virtual Task<Status> read_table_slot(uint64_t page, unsigned slot, ChecksumPage& out) = 0;
    // Makes the damaged table of `page` whole again, durably; with `rebuild` takes the source's
    // checksums also if it is not damaged.
    virtual Task<Status> repair_table(uint64_t page, std::shared_ptr<TableSource> source,
                                      bool rebuild) = 0;
    // Looks at the table of `page` on disk. What is damaged there and known in memory is rewritten;
    // false: repair_table() is needed.
    virtual Task<Result<bool>> inspect_table(uint64_t page) = 0;
    // Looks at the home copies of those of the blocks that are known to be zero; nobody reads them,
    // but home is a plain image. What holds anything is cleared. Pages that were never written are
    // passed over. The blocks are of one page.
    virtual Task<Result<std::vector<StrayBlock>>> inspect_zeros(uint64_t first_block,
                                                                uint64_t count) = 0;
    // Looks at superblocks, owner and health record and log on disk, and rewrites what is not as it
    // is known in memory. Returns how many of them, and of the log's batches, were.
    virtual Task<Result<uint64_t>> inspect_log_and_roots() = 0;
    // After an operation failed with Errc::corrupt: the page whose table is damaged, if it is that.
    virtual std::optional<uint64_t> take_suspect_page() = 0;
    // What the table demands of the home copy of a block; 0: zero. And what it demanded before its
    // page was written the last time, as far as that is still there.
    virtual Task<Result<uint64_t>> home_checksum(uint64_t block) = 0;
    virtual Task<Result<uint64_t>> previous_checksum(uint64_t block) = 0;
    // The bytes at home, whatever they are worth, and whether the log hides them.
    virtual Task<Status> read_raw(uint64_t first_block, uint64_t count, std::byte* out) = 0;
    // The checksum of the version that the log holds of the block.
    virtual std::optional<uint64_t> logged_checksum(uint64_t block) const = 0;
    // As found at open, or last saved. Saving fills in what counters() counts.
    virtual const MemberHealth& health() const = 0;
    virtual Task<Status> save_health(MemberHealth health) = 0;

    // --- Opening. Used before the volume serves, in this order.
    // Writes down on the member that this process has it. Until then opening has changed nothing.
    virtual Task<Status> claim() = 0;
    // The batch that follows `link`, if a writer at ring position `head` logged it here.
    struct Logged {
        BatchRef batch;
        uint64_t offset = 0;
    };
    virtual Task<Result<Logged>> read_log(uint64_t head, ChainLink link) = 0;
    // The highest stable point in any valid batch header of this epoch, wherever it lies in the
    // ring: finds out whether the end of a chain is a hole. 0 if there is none. What cannot be read
    // is passed over; fails only if nothing can.
    virtual Task<Result<uint64_t>> highest_stable_point(Uuid epoch_id) = 0;
    // True if the last owner closed the member in order: then its log ends where it seems to.
    virtual bool closed_cleanly() const = 0;
    // Puts a batch that this member lacks at its place in the ring. One that `was_stable` here once
    // was damaged, and counts so.
    virtual Task<Status> complete_log(BatchRef batch, uint64_t offset, bool was_stable) = 0;
    // Takes a batch that is in the ring at `offset` into the overlay, to be checkpointed.
    virtual void adopt(BatchRef batch, uint64_t offset) = 0;
    // Writes the configuration with its new epoch into both superblocks, with the epochs before it,
    // oldest first. The log must be empty.
    virtual Task<Status> begin_epoch(const ConfigurationRecord& configuration,
                                     std::span<const EpochRecord> history) = 0;

    // While it serves: the configuration alone, in both superblocks, each flushed. If it lists this
    // member as in sync, the resync that brought it there is over.
    virtual Task<Status> write_configuration(const ConfigurationRecord& configuration) = 0;

    // --- Being brought up to date, while its volume serves. In this order, as mirror/resync does
    // it; the log must be home, and the member is not read from until it is in sync.
    // Where the next batch would begin in the ring.
    virtual uint64_t log_head() const = 0;
    // Those of the pages [first_page, end_page) that had a write numbered above `after`, ascending.
    virtual Task<Result<std::vector<uint64_t>>> newer_pages(uint64_t after, uint64_t first_page,
                                                            uint64_t end_page) = 0;
    // The pages touched by whatever batch lies in the ring with a number above `after`, part of the
    // chain or not: a checkpoint that did not come to its end may have changed their blocks.
    virtual Task<Result<std::vector<uint64_t>>> pages_in_log(uint64_t after) = 0;
    // Every block reads as zero from now on, durably. For a member whose own state is no base.
    virtual Task<Status> forget_content() = 0;
    // The same for one page whose table cannot be read: every block of it is to be copied.
    virtual Task<Status> forget_page(uint64_t page) = 0;
    // Takes part in the chain from `at` on: the next batch is appended there. Nothing of it may
    // come home before begin_resync() has succeeded.
    virtual void join_log(const LogTail& at) = 0;
    // Makes it durable that the member is between two states. `history`: oldest first, with the
    // epoch in force.
    virtual Task<Status> begin_resync(const ConfigurationRecord& configuration,
                                      std::span<const EpochRecord> history,
                                      const ResyncRecord& record) = 0;
    // Gives blocks their content at home; their checksums follow with end_window(). Without data
    // they are zero where the checksum is 0, else unrecoverable. The pages are inside the window
    // that is recorded; nobody writes to the blocks, and they are not in this member's log.
    virtual Task<Status> copy_in(uint64_t first_block, std::span<const uint64_t> checksums,
                                 const std::byte* data) = 0;
    // All blocks of the page are as in the volume, whose last write to it was `sequence`.
    virtual void end_page(uint64_t page, uint64_t sequence) = 0;
    // Makes all copies durable with their checksums, and then `record`.
    virtual Task<Status> end_window(const ResyncRecord& record) = 0;

    // Releases the member. Everything in flight must have ended.
    virtual Task<Status> close() = 0;
};

}  // namespace gemel::blockdev
