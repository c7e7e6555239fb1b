// SPDX-License-Identifier: Apache-2.0
//
// GuardedMember: a member whose every call ends. A device may hang for ever, and what waits for it
// may hold locks that clients wait for. Once the member has been given up, all calls to it end with
// Errc::closed, at once; the work that hangs is left alone, in its own frames and with memory of
// its own, until the device answers, if it ever does.
//
// So nothing that a caller owns is handed to the device: data that is read comes through a buffer
// from here, data that is written is copied, or owned by its batch.
//
// It also knows how long its member takes to answer, whether somebody waited for that or not.
#pragma once

#include <memory>

#include "blockdev/buffer_pool.h"
#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/latency.h"

namespace gemel::mirror {

// Rung when work begins, for somebody who sleeps while there is none.
class Doorbell {
public:
    explicit Doorbell(Loop& loop) : rung_(loop) {}
    void ring() {
        if (listening_) rung_.notify_all();
        listening_ = false;
    }
    Event::Waiter wait() {
        listening_ = true;
        return rung_.wait();
    }

private:
    bool listening_ = false;
    Event rung_;
};

class GuardedMember final : public blockdev::Member {
public:
    // A call that nobody has to wait for to its end.
    struct Call {
        bool ended = false;
        Event* listener = nullptr;  // Notified at the end, or when the member is given up.
        Call* previous = nullptr;
        Call* next = nullptr;
    };
    struct Read : Call {
        uint64_t began_ns = 0;
        bool small = false;
        bool second = false;  // Another member was asked before.
        bool waits = false;   // For the device, or for another request.
        bool late = false;
        std::optional<Result<blockdev::BufferPool::Buffer>> result;
    };
    // What is known of the reads that were begun here.
    struct ReadRecord {
        Latency small;
        Latency large;
        uint32_t in_flight = 0;
        uint32_t seconds_in_flight = 0;
        uint32_t late_in_flight = 0;
        uint64_t last_began_ns = 0;
        const Latency& of(bool is_small) const { return is_small ? small : large; }
    };

    GuardedMember(Env& env, std::unique_ptr<blockdev::Member> member, Doorbell& doorbell);
    ~GuardedMember() override;

    // Ends all calls that are under way, and refuses new ones.
    void give_up();
    bool given_up() const { return given_up_; }
    // Nothing of it is left with the device.
    bool quiet() const { return scope_.running() == 0 && progress().in_flight == 0; }
    // Closes a member that was given up and is quiet. What is left is a shell, for those who still
    // hold a pointer; of the calls that are not tasks only those about progress, the log and
    // counters may be made.
    void retire();
    // Of buffers that nobody uses.
    size_t bytes_kept() const { return buffers_.bytes_kept(); }

    // Begins a read of at most kReadPieceBlocks blocks at `now_ns`, into memory of its own. Who
    // does not listen any more takes his event back.
    std::shared_ptr<Read> begin_read(uint64_t first_block, uint64_t count, Event& listener,
                                     uint64_t now_ns, bool second);
    // It has not ended, and takes longer than it should.
    void note_late(Read& read) {
        reads_.late_in_flight += read.late ? 0 : 1;
        read.late = true;
    }
    const ReadRecord& reads() const { return reads_; }

    static constexpr uint64_t kReadPieceBlocks = 256;
    static constexpr uint64_t kSmallReadBlocks = 16;

    const std::string& path() const override { return member_->path(); }
    const blockdev::Superblock& superblock() const override { return member_->superblock(); }
    const blockdev::Layout& layout() const override { return member_->layout(); }
    const DiskTraits& traits() const override { return member_->traits(); }
    const blockdev::MemberCounters& counters() const override {
        return member_ ? member_->counters() : last_counters_;
    }
    blockdev::MemberProgress progress() const override {
        return member_ ? member_->progress() : blockdev::MemberProgress{};
    }
    void set_on_flush_failure(std::function<void(Error)> call) override {
        if (member_) member_->set_on_flush_failure(std::move(call));
    }
    void resume_counters(const blockdev::MemberCounters& before) override {
        member_->resume_counters(before);
    }
    bool has_room(uint64_t bytes) const override { return member_->has_room(bytes); }
    // Not guarded: the request and its batch live until the device has answered.
    void append(blockdev::AppendRequest& request) override {
        doorbell_.ring();
        member_->append(request);
    }
    uint64_t logged_sequence() const override { return member_->logged_sequence(); }
    uint64_t log_bytes_used() const override { return member_->log_bytes_used(); }
    uint64_t log_head() const override { return member_->log_head(); }
    void join_log(const blockdev::LogTail& at) override { member_->join_log(at); }
    void end_page(uint64_t page, uint64_t sequence) override {
        if (!given_up_) member_->end_page(page, sequence);
    }
    uint64_t tail_sequence() const override { return member_ ? member_->tail_sequence() : 1; }
    bool try_read(uint64_t first_block, uint64_t count, std::byte* out) override {
        return !given_up_ && member_->try_read(first_block, count, out);
    }
    Result<uint64_t> free_bytes() const override { return member_->free_bytes(); }
    std::optional<uint64_t> take_suspect_page() override {
        return given_up_ ? std::nullopt : member_->take_suspect_page();
    }
    std::optional<uint64_t> logged_checksum(uint64_t block) const override {
        return member_ ? member_->logged_checksum(block) : std::nullopt;
    }
    const blockdev::MemberHealth& health() const override { return member_->health(); }
    bool closed_cleanly() const override { return member_->closed_cleanly(); }
    void adopt(blockdev::BatchRef batch, uint64_t offset) override {
        member_->adopt(std::move(batch), offset);
    }

    Task<Status> flush() override;
    Task<Status> checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t window) override;
    Task<Status> read(uint64_t first_block, uint64_t count, std::byte* out) override;
    Task<Result<blockdev::BlockRun>> run_at(uint64_t first_block, uint64_t limit) override;
    Task<Result<bool>> is_allocated(uint64_t first_block, uint64_t count) override;
    Task<Status> rewrite(uint64_t block, const std::byte* data) override;
    Task<Status> page_values(uint64_t page, blockdev::PageVersion version,
                             blockdev::PageValues& out) override;
    Task<Status> page_values_if(uint64_t page, blockdev::PageVersion version,
                                const blockdev::ChecksumPage& found,
                                blockdev::PageValues& out) override;
    Task<Status> read_table_slot(uint64_t page, unsigned slot,
                                 blockdev::ChecksumPage& out) override;
    Task<Status> repair_table(uint64_t page, std::shared_ptr<blockdev::TableSource> source,
                              bool rebuild) override;
    Task<Result<bool>> inspect_table(uint64_t page) override;
    Task<Result<uint64_t>> inspect_log_and_roots() override;
    Task<Result<std::vector<blockdev::StrayBlock>>> inspect_zeros(uint64_t first_block,
                                                                  uint64_t count) override;
    Task<Result<uint64_t>> home_checksum(uint64_t block) override;
    Task<Result<uint64_t>> previous_checksum(uint64_t block) override;
    Task<Status> read_raw(uint64_t first_block, uint64_t count, std::byte* out) override;
    Task<Status> save_health(blockdev::MemberHealth health) override;
    Task<Status> claim() override;
    Task<Result<Logged>> read_log(uint64_t head, blockdev::ChainLink link) override;
    Task<Result<uint64_t>> highest_stable_point(Uuid epoch_id) override;
    Task<Status> complete_log(blockdev::BatchRef batch, uint64_t offset, bool was_stable) override;
    Task<Status> begin_epoch(const blockdev::ConfigurationRecord& configuration,
                             std::span<const blockdev::EpochRecord> history) override;
    Task<Status> write_configuration(const blockdev::ConfigurationRecord& configuration) override;
    Task<Result<std::vector<uint64_t>>> newer_pages(uint64_t after, uint64_t first_page,
                                                    uint64_t end_page) override;
    Task<Result<std::vector<uint64_t>>> pages_in_log(uint64_t after) override;
    Task<Status> forget_content() override;
    Task<Status> forget_page(uint64_t page) override;
    Task<Status> begin_resync(const blockdev::ConfigurationRecord& configuration,
                              std::span<const blockdev::EpochRecord> history,
                              const blockdev::ResyncRecord& record) override;
    Task<Status> copy_in(uint64_t first_block, std::span<const uint64_t> checksums,
                         const std::byte* data) override;
    Task<Status> end_window(const blockdev::ResyncRecord& record) override;
    Task<Status> close() override;

private:
    template <typename T>
    struct CallOf;
    void link(Call& call);
    void end(Call& call);
    // Runs `work`, which must own all that it needs, and waits for its end or that of our patience.
    template <typename T>
    Task<T> guarded(Task<T> work);
    template <typename T>
    Task<void> carry_out(std::shared_ptr<CallOf<T>> call, Task<T> work);
    Task<void> carry_out_read(std::shared_ptr<Read> read, blockdev::BufferPool::Buffer buffer,
                              uint64_t first_block, uint64_t count);
    Task<Status> read_through_buffer(uint64_t first_block, uint64_t count, std::byte* out,
                                     bool raw);

    Env& env_;
    std::unique_ptr<blockdev::Member> member_;
    Doorbell& doorbell_;
    blockdev::BufferPool buffers_;
    Scope scope_;
    Call* first_ = nullptr;  // Those that have not ended.
    ReadRecord reads_;
    blockdev::MemberCounters last_counters_;
    bool given_up_ = false;
};

}  // namespace gemel::mirror
