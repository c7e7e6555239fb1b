// SPDX-License-Identifier: Apache-2.0
//
// A member whose every answer the test gives by hand: for the order in which things happen above
// the members, which no drive would produce on demand.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/event.h"
#include "blockdev/member.h"

namespace gemel::mirror {

class FakeMember final : public blockdev::Member {
public:
    FakeMember(Env& env, std::string path) : env_(env), path_(std::move(path)), changed_(env) {
        layout_ = blockdev::make_layout(64 << 20, 64 << 20, 16 << 20);
        std::memset(static_cast<void*>(&superblock_), 0, sizeof superblock_);
        superblock_.tail.sequence = 1;
    }

    const std::string& path() const override { return path_; }
    const blockdev::Superblock& superblock() const override { return superblock_; }
    const blockdev::Layout& layout() const override { return layout_; }
    const DiskTraits& traits() const override { return traits_; }
    const blockdev::MemberCounters& counters() const override { return counters_; }
    blockdev::MemberProgress progress() const override { return member_progress; }
    void set_on_flush_failure(std::function<void(Error)>) override {}
    void resume_counters(const blockdev::MemberCounters&) override {}

    bool has_room(uint64_t batch_bytes) const override { return batch_bytes <= room; }
    void append(blockdev::AppendRequest& request) override {
        appends.push_back(&request);
        appended.push_back(request.batch);
        if (answers_at_once) answer_append(appends.size() - 1);
    }
    uint64_t logged_sequence() const override { return logged; }
    uint64_t log_bytes_used() const override { return log_used; }

    Task<Status> flush() override {
        const size_t number = ++flushes_begun;
        while (holds_flushes && number > released_flushes_) co_await changed_.wait();
        ++flushes_ended;
        co_return flush_status;
    }
    Task<Status> checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t) override {
        checkpoints.push_back({sequence, bytes_wanted});
        if (checkpoint_status.ok()) {
            superblock_.tail.sequence = sequence + 1;
            log_used = 0;
        }
        co_return checkpoint_status;
    }
    uint64_t tail_sequence() const override { return superblock_.tail.sequence; }

    Task<Status> read(uint64_t, uint64_t count, std::byte* out) override {
        std::memset(out, 0, count * blockdev::kBlockSize);
        co_return Status::success();
    }
    bool try_read(uint64_t, uint64_t, std::byte*) override { return false; }
    Task<Result<blockdev::BlockRun>> run_at(uint64_t, uint64_t limit) override {
        co_return blockdev::BlockRun{limit, true};
    }
    Task<Result<bool>> is_allocated(uint64_t, uint64_t) override {
        ++allocation_questions;
        co_return allocated;
    }
    Result<uint64_t> free_bytes() const override { return free; }

    // Nothing is ever damaged here.
    Task<Status> rewrite(uint64_t, const std::byte*) override { co_return Status::success(); }
    Task<Status> page_values(uint64_t, blockdev::PageVersion, blockdev::PageValues&) override {
        co_return Status::success();
    }
    Task<Status> page_values_if(uint64_t, blockdev::PageVersion, const blockdev::ChecksumPage&,
                                blockdev::PageValues&) override {
        co_return Status::success();
    }
    Task<Status> read_table_slot(uint64_t, unsigned, blockdev::ChecksumPage&) override {
        co_return Status::success();
    }
    Task<Status> repair_table(uint64_t, std::shared_ptr<blockdev::TableSource>, bool) override {
        co_return Status::success();
    }
    Task<Result<uint64_t>> inspect_log_and_roots() override { co_return uint64_t{0}; }
    Task<Result<bool>> inspect_table(uint64_t) override { co_return true; }
    Task<Result<std::vector<blockdev::StrayBlock>>> inspect_zeros(uint64_t, uint64_t) override {
        co_return std::vector<blockdev::StrayBlock>{};
    }
    std::optional<uint64_t> take_suspect_page() override { return std::nullopt; }
    Task<Result<uint64_t>> home_checksum(uint64_t) override { co_return uint64_t{0}; }
    Task<Result<uint64_t>> previous_checksum(uint64_t) override { co_return uint64_t{0}; }
    Task<Status> read_raw(uint64_t, uint64_t, std::byte*) override { co_return Status::success(); }
    const blockdev::MemberHealth& health() const override { return health_; }
    Task<Status> save_health(blockdev::MemberHealth) override { co_return Status::success(); }
    std::optional<uint64_t> logged_checksum(uint64_t) const override { return std::nullopt; }

    Task<Result<Logged>> read_log(uint64_t, blockdev::ChainLink) override { co_return Logged{}; }
    Task<Result<uint64_t>> highest_stable_point(Uuid) override { co_return uint64_t{0}; }
    bool closed_cleanly() const override { return true; }
    Task<Status> complete_log(blockdev::BatchRef, uint64_t, bool) override {
        co_return Status::success();
    }
    void adopt(blockdev::BatchRef, uint64_t) override {}
    Task<Status> claim() override { co_return Status::success(); }
    Task<Status> begin_epoch(const blockdev::ConfigurationRecord&,
                             std::span<const blockdev::EpochRecord>) override {
        co_return Status::success();
    }
    Task<Status> write_configuration(const blockdev::ConfigurationRecord& record) override {
        configurations.push_back(record);
        co_return configuration_status;
    }
    uint64_t log_head() const override { return 0; }
    Task<Result<std::vector<uint64_t>>> newer_pages(uint64_t, uint64_t, uint64_t) override {
        co_return std::vector<uint64_t>{};
    }
    Task<Result<std::vector<uint64_t>>> pages_in_log(uint64_t) override {
        co_return std::vector<uint64_t>{};
    }
    Task<Status> forget_content() override { co_return Status::success(); }
    Task<Status> forget_page(uint64_t) override { co_return Status::success(); }
    void join_log(const blockdev::LogTail&) override {}
    Task<Status> begin_resync(const blockdev::ConfigurationRecord&,
                              std::span<const blockdev::EpochRecord>,
                              const blockdev::ResyncRecord&) override {
        co_return Status::success();
    }
    Task<Status> copy_in(uint64_t, std::span<const uint64_t>, const std::byte*) override {
        co_return Status::success();
    }
    void end_page(uint64_t, uint64_t) override {}
    Task<Status> end_window(const blockdev::ResyncRecord&) override { co_return Status::success(); }
    Task<Status> close() override { co_return Status::success(); }

    // Answers the append that was the n-th one.
    void answer_append(size_t index, Status status = Status::success()) {
        blockdev::AppendRequest& request = *appends[index];
        request.status = std::move(status);
        if (request.status.ok()) logged = request.batch->last_sequence();
        env_.post(request.done);
    }
    // Lets the flushes that have begun come to their end.
    void release_flushes() {
        released_flushes_ = flushes_begun;
        changed_.notify_all();
    }

    std::vector<blockdev::AppendRequest*> appends;
    std::vector<blockdev::BatchRef> appended;
    struct CheckpointCall {
        uint64_t sequence;
        uint64_t bytes;
    };
    std::vector<CheckpointCall> checkpoints;
    std::vector<blockdev::ConfigurationRecord> configurations;
    Status configuration_status;
    blockdev::MemberProgress member_progress;
    Status checkpoint_status;
    Status flush_status;
    bool answers_at_once = false;
    bool holds_flushes = false;
    size_t flushes_begun = 0;
    size_t flushes_ended = 0;
    uint64_t room = UINT64_MAX;
    uint64_t free = UINT64_MAX;
    uint64_t logged = 0;
    uint64_t log_used = 0;
    bool allocated = false;
    size_t allocation_questions = 0;

private:
    Env& env_;
    std::string path_;
    Event changed_;
    size_t released_flushes_ = 0;
    blockdev::Superblock superblock_;
    blockdev::Layout layout_;
    DiskTraits traits_;
    blockdev::MemberHealth health_;
    blockdev::MemberCounters counters_;
};

}  // namespace gemel::mirror
