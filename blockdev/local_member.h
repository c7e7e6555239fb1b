// SPDX-License-Identifier: Apache-2.0
//
// LocalMember: a member on a file or block device of this machine.
#pragma once

#include <memory>
#include <vector>

#include "blockdev/checksum_table.h"
#include "blockdev/copied_blocks.h"
#include "blockdev/env.h"
#include "blockdev/log_reader.h"
#include "blockdev/log_writer.h"
#include "blockdev/member.h"
#include "blockdev/mutex.h"
#include "blockdev/overlay.h"
#include "blockdev/superblock.h"

namespace gemel::blockdev {

class LocalMember final : public Member {
public:
    // Opens, locks and checks the member at `path`. `pool` outlives it. `superblock_b`: where that
    // lies on other members of the volume, in case the beginning of this one is lost.
    static Task<Outcome<std::unique_ptr<LocalMember>>> open(Env& env, std::string path,
                                                            size_t cache_bytes, BufferPool& pool,
                                                            uint64_t superblock_b = 0);

    const std::string& path() const override { return disk_->traits().path; }
    const Superblock& superblock() const override { return superblocks_.current(); }
    const Layout& layout() const override { return layout_; }
    const DiskTraits& traits() const override { return disk_->traits(); }
    const MemberCounters& counters() const override { return counters_; }
    MemberProgress progress() const override { return disk_->progress(); }
    void set_on_flush_failure(std::function<void(Error)> call) override {
        disk_->set_on_flush_failure(std::move(call));
    }
    void resume_counters(const MemberCounters& before) override;

    bool has_room(uint64_t batch_bytes) const override { return log_.has_room(batch_bytes); }
    void append(AppendRequest& request) override;
    uint64_t logged_sequence() const override { return log_.logged_sequence(); }
    uint64_t log_bytes_used() const override { return log_.bytes_used(); }
    Task<Status> flush() override;

    Task<Status> checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t window) override;
    uint64_t tail_sequence() const override { return log_.tail_after(0).sequence; }

    Task<Status> read(uint64_t first_block, uint64_t count, std::byte* out) override;
    bool try_read(uint64_t first_block, uint64_t count, std::byte* out) override;
    Task<Result<BlockRun>> run_at(uint64_t first_block, uint64_t limit) override;
    Task<Result<bool>> is_allocated(uint64_t first_block, uint64_t count) override;
    Result<uint64_t> free_bytes() const override { return disk_->free_bytes(); }

    Task<Status> rewrite(uint64_t block, const std::byte* data) override;
    Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) override;
    Task<Status> page_values_if(uint64_t page, PageVersion version, const ChecksumPage& found,
                                PageValues& out) override;
    Task<Status> read_table_slot(uint64_t page, unsigned slot, ChecksumPage& out) override;
    Task<Status> repair_table(uint64_t page, std::shared_ptr<TableSource> source,
                              bool rebuild) override;
    Task<Result<uint64_t>> inspect_log_and_roots() override;
    Task<Result<std::vector<StrayBlock>>> inspect_zeros(uint64_t first_block,
                                                        uint64_t count) override;
    Task<Result<bool>> inspect_table(uint64_t page) override;
    std::optional<uint64_t> take_suspect_page() override { return table_.take_suspect(); }
    Task<Result<uint64_t>> home_checksum(uint64_t block) override;
    Task<Result<uint64_t>> previous_checksum(uint64_t block) override;
    Task<Status> read_raw(uint64_t first_block, uint64_t count, std::byte* out) override;
    std::optional<uint64_t> logged_checksum(uint64_t block) const override;
    const MemberHealth& health() const override { return health_; }
    Task<Status> save_health(MemberHealth health) override;

    Task<Result<Logged>> read_log(uint64_t head, ChainLink link) override;
    Task<Status> complete_log(BatchRef batch, uint64_t offset, bool was_stable) override;
    void adopt(BatchRef batch, uint64_t offset) override;
    Task<Status> claim() override;
    Task<Status> begin_epoch(const ConfigurationRecord& configuration,
                             std::span<const EpochRecord> history) override;
    Task<Status> write_configuration(const ConfigurationRecord& configuration) override;
    uint64_t log_head() const override { return log_.head(); }
    Task<Result<std::vector<uint64_t>>> newer_pages(uint64_t after, uint64_t first_page,
                                                    uint64_t end_page) override;
    Task<Result<std::vector<uint64_t>>> pages_in_log(uint64_t after) override;
    Task<Status> forget_content() override;
    Task<Status> forget_page(uint64_t page) override;
    void join_log(const LogTail& at) override;
    Task<Status> begin_resync(const ConfigurationRecord& configuration,
                              std::span<const EpochRecord> history,
                              const ResyncRecord& record) override;
    Task<Status> copy_in(uint64_t first_block, std::span<const uint64_t> checksums,
                         const std::byte* data) override;
    void end_page(uint64_t page, uint64_t sequence) override { copies_.end_page(page, sequence); }
    Task<Status> end_window(const ResyncRecord& record) override;
    bool closed_cleanly() const override { return closed_cleanly_; }
    Task<Result<uint64_t>> highest_stable_point(Uuid epoch_id) override;
    Task<Status> close() override;

    static constexpr uint64_t kMaximumReadBlocks = 256;  // Per request to the device.
    static constexpr uint64_t kSmallReadBlocks = 4;

private:
    class SourceForHome;

    LocalMember(Env& env, std::unique_ptr<WatchedDisk> disk, std::unique_ptr<Superblock> superblock,
                size_t cache_bytes, BufferPool& pool);

    // Whether the block was there.
    bool read_from_memory(uint64_t block, std::byte* out) const;
    // `Limit` bounds `count` and with it the size of the frame: small reads stay cheap.
    template <size_t Limit>
    Task<Status> read_chunk(uint64_t first_block, uint64_t count, std::byte* out);
    bool has_changed(uint64_t block, uint64_t checksum);
    Status verify(uint64_t first_block, std::span<const uint64_t> checksums, const std::byte* out);
    Task<Result<bool>> page_is_zero(uint64_t page);
    void add_logged(uint64_t page, PageVersion version, uint64_t sequence, PageValues& out) const;
    Task<Status> checkpoint_taken(uint64_t sequence, uint64_t bytes_wanted, size_t window);
    Task<Status> write_table();
    Task<Status> punch_home();
    Task<Status> name_copies();
    Task<void> name_copies_of(uint64_t page, Status& outcome);
    Task<Status> move_tail(const LogTail& tail);
    void take_over(MemberHealth health);
    void note(const std::string& event);
    Task<void> judge_finding(const SuperblockReading& reading, const OwnerRecord* last_owner);
    Task<Status> heal_finding();
    Task<Status> write_health_anew();
    Task<Status> clear_strays(uint64_t first_block, uint64_t count,
                              std::vector<StrayBlock>& strays);
    Task<Result<uint64_t>> inspect_log();
    Task<Result<uint64_t>> inspect_roots();
    Task<Result<uint64_t>> inspect_health();

    Env& env_;
    std::unique_ptr<WatchedDisk> disk_;
    Layout layout_;
    ecc::BlockHasher hasher_;
    SuperblockStore superblocks_;
    ChecksumTable table_;
    LogWriter log_;
    LogReader reader_;
    Overlay overlay_;
    CopiedBlocks copies_;
    LogTail joined_at_{};
    AlignedBytes junk_;  // Where reads put blocks that nobody wants.
    MemberCounters counters_;
    MemberHealth health_;
    Mutex table_mutex_;  // The checkpoint and repairs change the table one at a time.
    Mutex health_mutex_;
    Mutex superblock_mutex_;  // Held from the first edit until the write has ended; taken last.
    bool closed_cleanly_ = false;
    // What was found at open, to be put right when the member is claimed.
    bool superblocks_alike_ = false;
    bool health_is_whole_ = true;
    uint64_t damaged_at_open_ = 0;  // Records, by something else than a crash.
};

}  // namespace gemel::blockdev
