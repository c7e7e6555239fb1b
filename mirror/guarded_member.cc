// SPDX-License-Identifier: Apache-2.0
#include "mirror/guarded_member.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::BatchRef;
using blockdev::BlockRun;
using blockdev::BufferPool;
using blockdev::ChainLink;
using blockdev::ChecksumPage;
using blockdev::ConfigurationRecord;
using blockdev::EpochRecord;
using blockdev::kBlockSize;
using blockdev::Member;
using blockdev::MemberHealth;
using blockdev::PageValues;
using blockdev::PageVersion;
using blockdev::ResyncRecord;
using blockdev::TableSource;

namespace {

constexpr size_t kBuffersKept = 8u << 20;

const Error kGivenUp{Errc::closed, 0, "the member was given up"};

// What the device may still be working on when nobody waits for it any more: each owns what it
// needs.

Task<Result<BufferPool::Buffer>> read_into(Member& member, BufferPool::Buffer buffer,
                                           uint64_t first_block, uint64_t count, bool raw) {
    Status status;
    if (raw) {
        status = co_await member.read_raw(first_block, count, buffer.get());
    } else {
        status = co_await member.read(first_block, count, buffer.get());
    }
    if (!status.ok()) co_return status.error();
    co_return Result<BufferPool::Buffer>(std::move(buffer));
}

Task<Status> rewrite_copy(Member& member, uint64_t block, AlignedBytes data) {
    co_return co_await member.rewrite(block, data.get());
}

Task<Result<PageValues>> values_of(Member& member, uint64_t page, PageVersion version) {
    PageValues values;
    const Status status = co_await member.page_values(page, version, values);
    if (!status.ok()) co_return status.error();
    co_return values;
}

Task<Status> begin_epoch_of(Member& member, ConfigurationRecord configuration,
                            std::vector<EpochRecord> history) {
    co_return co_await member.begin_epoch(configuration, history);
}

Task<Result<PageValues>> values_if(Member& member, uint64_t page, PageVersion version,
                                   ChecksumPage found) {
    PageValues values;
    const Status status = co_await member.page_values_if(page, version, found, values);
    if (!status.ok()) co_return status.error();
    co_return values;
}

Task<Result<ChecksumPage>> slot_of(Member& member, uint64_t page, unsigned slot) {
    ChecksumPage values;
    const Status status = co_await member.read_table_slot(page, slot, values);
    if (!status.ok()) co_return status.error();
    co_return values;
}

Task<Status> begin_resync_of(Member& member, ConfigurationRecord configuration,
                             std::vector<EpochRecord> history, ResyncRecord record) {
    co_return co_await member.begin_resync(configuration, history, record);
}

Task<Status> end_window_of(Member& member, ResyncRecord record) {
    co_return co_await member.end_window(record);
}

Task<Status> copy_into(Member& member, uint64_t first_block, std::vector<uint64_t> checksums,
                       BufferPool::Buffer data) {
    co_return co_await member.copy_in(first_block, checksums, data.get());
}

// What the others hold counts for a member only as long as that gets every write they get: of what
// was written later it has nothing, neither at home nor in its log, and must not say that it had.
class SourceWhileInSync final : public TableSource {
public:
    SourceWhileInSync(const GuardedMember& member, std::shared_ptr<TableSource> source)
        : member_(member), source_(std::move(source)) {}

    Task<Status> page_values(uint64_t page, PageVersion version, PageValues& out) override {
        const Status known = co_await source_->page_values(page, version, out);
        if (member_.given_up()) co_return kGivenUp;
        co_return known;
    }
    Task<Result<bool>> candidate(uint64_t page, size_t number, ChecksumPage& out) override {
        return source_->candidate(page, number, out);
    }

private:
    const GuardedMember& member_;
    std::shared_ptr<TableSource> source_;
};

template <typename T>
Task<T> gone() {
    co_return kGivenUp;
}

Task<Status> write_configuration_of(Member& member, ConfigurationRecord configuration) {
    co_return co_await member.write_configuration(configuration);
}

}  // namespace

template <typename T>
struct GuardedMember::CallOf : Call {
    std::optional<T> result;
};

GuardedMember::GuardedMember(Env& env, std::unique_ptr<Member> member, Doorbell& doorbell)
    : env_(env),
      member_(std::move(member)),
      doorbell_(doorbell),
      buffers_(kBuffersKept),
      scope_(env) {}

GuardedMember::~GuardedMember() = default;

void GuardedMember::link(Call& call) {
    call.next = first_;
    if (first_ != nullptr) first_->previous = &call;
    first_ = &call;
}

void GuardedMember::end(Call& call) {
    call.ended = true;
    if (call.previous != nullptr || first_ == &call) {
        (call.previous != nullptr ? call.previous->next : first_) = call.next;
        if (call.next != nullptr) call.next->previous = call.previous;
    }
    if (call.listener != nullptr) call.listener->notify_all();
}

template <typename T>
Task<void> GuardedMember::carry_out(std::shared_ptr<CallOf<T>> call, Task<T> work) {
    call->result.emplace(co_await std::move(work));
    end(*call);
}

template <typename T>
Task<T> GuardedMember::guarded(Task<T> work) {
    if (given_up_) co_return kGivenUp;
    doorbell_.ring();
    auto call = std::make_shared<CallOf<T>>();
    scope_.start(carry_out<T>(call, std::move(work)));
    if (!call->ended) {
        Event ended(env_);
        link(*call);
        call->listener = &ended;
        while (!call->ended && !given_up_) co_await ended.wait();
        call->listener = nullptr;
    }
    if (call->ended) co_return std::move(*call->result);
    co_return kGivenUp;
}

Task<void> GuardedMember::carry_out_read(std::shared_ptr<Read> read, BufferPool::Buffer buffer,
                                         uint64_t first_block, uint64_t count) {
    const Status status = co_await member_->read(first_block, count, buffer.get());
    --reads_.in_flight;
    if (read->second) --reads_.seconds_in_flight;
    if (read->late) --reads_.late_in_flight;
    if (read->waits) {
        (read->small ? reads_.small : reads_.large).record(env_.now_ns() - read->began_ns);
    }
    if (status.ok()) {
        read->result.emplace(std::move(buffer));
    } else {
        read->result.emplace(status.error());
    }
    end(*read);
}

std::shared_ptr<GuardedMember::Read> GuardedMember::begin_read(uint64_t first_block, uint64_t count,
                                                               Event& listener, uint64_t now_ns,
                                                               bool second) {
    CHECK(!given_up_ && count <= kReadPieceBlocks);
    doorbell_.ring();
    auto read = std::make_shared<Read>();
    read->began_ns = now_ns;
    read->small = count <= kSmallReadBlocks;
    read->second = second;
    reads_.last_began_ns = now_ns;
    ++reads_.in_flight;
    if (second) ++reads_.seconds_in_flight;
    scope_.start(carry_out_read(read, buffers_.take(count * kBlockSize), first_block, count));
    if (read->ended) return read;
    // Only now: what is answered from memory says nothing about the device.
    read->waits = true;
    read->listener = &listener;
    link(*read);
    return read;
}

void GuardedMember::give_up() {
    given_up_ = true;
    for (Call* call = first_; call != nullptr; call = call->next) {
        if (call->listener != nullptr) call->listener->notify_all();
    }
}

void GuardedMember::retire() {
    CHECK(given_up_ && quiet());
    last_counters_ = member_->counters();
    member_.reset();
    buffers_.retire();
}

// In pieces, each through a buffer that is the device's until it has answered.
Task<Status> GuardedMember::read_through_buffer(uint64_t first_block, uint64_t count,
                                                std::byte* out, bool raw) {
    for (uint64_t done = 0; done < count; done += kReadPieceBlocks) {
        const uint64_t part = std::min(count - done, kReadPieceBlocks);
        if (given_up_) co_return kGivenUp;
        BufferPool::Buffer buffer = buffers_.take(part * kBlockSize);
        Result<BufferPool::Buffer> read =
            co_await guarded(read_into(*member_, std::move(buffer), first_block + done, part, raw));
        if (!read.ok()) co_return read.error();
        std::memcpy(out + done * kBlockSize, read.value().get(), part * kBlockSize);
    }
    co_return Status::success();
}

Task<Status> GuardedMember::read(uint64_t first_block, uint64_t count, std::byte* out) {
    return read_through_buffer(first_block, count, out, false);
}

Task<Status> GuardedMember::read_raw(uint64_t first_block, uint64_t count, std::byte* out) {
    return read_through_buffer(first_block, count, out, true);
}

Task<Status> GuardedMember::rewrite(uint64_t block, const std::byte* data) {
    if (given_up_) return gone<Status>();
    AlignedBytes copy = allocate_aligned(kBlockSize);
    std::memcpy(copy.get(), data, kBlockSize);
    return guarded(rewrite_copy(*member_, block, std::move(copy)));
}

Task<Status> GuardedMember::page_values(uint64_t page, PageVersion version, PageValues& out) {
    if (given_up_) co_return kGivenUp;
    Result<PageValues> values = co_await guarded(values_of(*member_, page, version));
    if (!values.ok()) co_return values.error();
    out = values.value();
    co_return Status::success();
}

Task<Status> GuardedMember::page_values_if(uint64_t page, PageVersion version,
                                           const ChecksumPage& found, PageValues& out) {
    if (given_up_) co_return kGivenUp;
    Result<PageValues> values = co_await guarded(values_if(*member_, page, version, found));
    if (!values.ok()) co_return values.error();
    out = values.value();
    co_return Status::success();
}

Task<Status> GuardedMember::read_table_slot(uint64_t page, unsigned slot, ChecksumPage& out) {
    if (given_up_) co_return kGivenUp;
    Result<ChecksumPage> values = co_await guarded(slot_of(*member_, page, slot));
    if (!values.ok()) co_return values.error();
    out = values.value();
    co_return Status::success();
}

Task<Status> GuardedMember::begin_epoch(const ConfigurationRecord& configuration,
                                        std::span<const EpochRecord> history) {
    if (given_up_) return gone<Status>();
    return guarded(begin_epoch_of(*member_, configuration, {history.begin(), history.end()}));
}

Task<Status> GuardedMember::write_configuration(const ConfigurationRecord& configuration) {
    if (given_up_) return gone<Status>();
    return guarded(write_configuration_of(*member_, configuration));
}

Task<Status> GuardedMember::repair_table(uint64_t page, std::shared_ptr<TableSource> source,
                                         bool rebuild) {
    if (given_up_) return gone<Status>();
    auto guarded_source = std::make_shared<SourceWhileInSync>(*this, std::move(source));
    return guarded(member_->repair_table(page, std::move(guarded_source), rebuild));
}

Task<Status> GuardedMember::flush() {
    if (given_up_) return gone<Status>();
    return guarded(member_->flush());
}

Task<Status> GuardedMember::checkpoint(uint64_t sequence, uint64_t bytes_wanted, size_t window) {
    if (given_up_) return gone<Status>();
    return guarded(member_->checkpoint(sequence, bytes_wanted, window));
}

Task<Result<BlockRun>> GuardedMember::run_at(uint64_t first_block, uint64_t limit) {
    if (given_up_) return gone<Result<BlockRun>>();
    return guarded(member_->run_at(first_block, limit));
}

Task<Result<bool>> GuardedMember::is_allocated(uint64_t first_block, uint64_t count) {
    if (given_up_) return gone<Result<bool>>();
    return guarded(member_->is_allocated(first_block, count));
}

Task<Result<bool>> GuardedMember::inspect_table(uint64_t page) {
    if (given_up_) return gone<Result<bool>>();
    return guarded(member_->inspect_table(page));
}

Task<Result<std::vector<blockdev::StrayBlock>>> GuardedMember::inspect_zeros(uint64_t first_block,
                                                                             uint64_t count) {
    if (given_up_) return gone<Result<std::vector<blockdev::StrayBlock>>>();
    return guarded(member_->inspect_zeros(first_block, count));
}

Task<Result<uint64_t>> GuardedMember::inspect_log_and_roots() {
    if (given_up_) return gone<Result<uint64_t>>();
    return guarded(member_->inspect_log_and_roots());
}

Task<Result<uint64_t>> GuardedMember::home_checksum(uint64_t block) {
    if (given_up_) return gone<Result<uint64_t>>();
    return guarded(member_->home_checksum(block));
}

Task<Result<uint64_t>> GuardedMember::previous_checksum(uint64_t block) {
    if (given_up_) return gone<Result<uint64_t>>();
    return guarded(member_->previous_checksum(block));
}

Task<Status> GuardedMember::save_health(MemberHealth health) {
    if (given_up_) return gone<Status>();
    return guarded(member_->save_health(std::move(health)));
}

Task<Status> GuardedMember::claim() {
    if (given_up_) return gone<Status>();
    return guarded(member_->claim());
}

Task<Result<Member::Logged>> GuardedMember::read_log(uint64_t head, ChainLink link) {
    if (given_up_) return gone<Result<Member::Logged>>();
    return guarded(member_->read_log(head, link));
}

Task<Result<uint64_t>> GuardedMember::highest_stable_point(Uuid epoch_id) {
    if (given_up_) return gone<Result<uint64_t>>();
    return guarded(member_->highest_stable_point(epoch_id));
}

Task<Status> GuardedMember::complete_log(BatchRef batch, uint64_t offset, bool was_stable) {
    if (given_up_) return gone<Status>();
    return guarded(member_->complete_log(std::move(batch), offset, was_stable));
}

Task<Result<std::vector<uint64_t>>> GuardedMember::newer_pages(uint64_t after, uint64_t first_page,
                                                               uint64_t end_page) {
    if (given_up_) return gone<Result<std::vector<uint64_t>>>();
    return guarded(member_->newer_pages(after, first_page, end_page));
}

Task<Result<std::vector<uint64_t>>> GuardedMember::pages_in_log(uint64_t after) {
    if (given_up_) return gone<Result<std::vector<uint64_t>>>();
    return guarded(member_->pages_in_log(after));
}

Task<Status> GuardedMember::forget_content() {
    if (given_up_) return gone<Status>();
    return guarded(member_->forget_content());
}

Task<Status> GuardedMember::forget_page(uint64_t page) {
    if (given_up_) return gone<Status>();
    return guarded(member_->forget_page(page));
}

Task<Status> GuardedMember::begin_resync(const ConfigurationRecord& configuration,
                                         std::span<const EpochRecord> history,
                                         const ResyncRecord& record) {
    if (given_up_) return gone<Status>();
    return guarded(
        begin_resync_of(*member_, configuration, {history.begin(), history.end()}, record));
}

Task<Status> GuardedMember::copy_in(uint64_t first_block, std::span<const uint64_t> checksums,
                                    const std::byte* data) {
    if (given_up_) return gone<Status>();
    BufferPool::Buffer copy;
    if (data != nullptr) {
        copy = buffers_.take(checksums.size() * kBlockSize);
        std::memcpy(copy.get(), data, checksums.size() * kBlockSize);
    }
    return guarded(
        copy_into(*member_, first_block, {checksums.begin(), checksums.end()}, std::move(copy)));
}

Task<Status> GuardedMember::end_window(const ResyncRecord& record) {
    if (given_up_) return gone<Status>();
    return guarded(end_window_of(*member_, record));
}

Task<Status> GuardedMember::close() {
    if (given_up_) return gone<Status>();
    return guarded(member_->close());
}

}  // namespace gemel::mirror
