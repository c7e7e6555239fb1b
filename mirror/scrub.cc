// SPDX-License-Identifier: Apache-2.0
#include "mirror/scrub.h"

#include <algorithm>
#include <cstring>

#include "mirror/table_peers.h"

namespace gemel::mirror {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::Member;
using blockdev::MemberCounters;
using blockdev::PageValues;
using blockdev::PageVersion;

namespace {

constexpr uint64_t kClientShare = 9;  // Times the scrub's own time, as long as there are clients.
constexpr uint64_t kRestMax_ns = 60 * kSecond;
constexpr uint64_t kLookAgain_ns = 3600 * kSecond;  // At the clock, which may be set.
constexpr uint64_t kSavePages = 512;                // How often the place is written down.

// A member that leaves takes its counts along.
uint64_t since(uint64_t sum, uint64_t before) { return sum - std::min(sum, before); }

}  // namespace

uint64_t scrub_rest_ns(uint64_t work_ns, bool clients_active, bool wanted, uint64_t interval_ns,
                       uint64_t pages) {
    uint64_t rest = 0;
    if (clients_active) rest = kClientShare * work_ns;
    if (!wanted) rest = std::max(rest, interval_ns / 2 / std::max<uint64_t>(pages, 1));
    return std::min(rest, kRestMax_ns);
}

Scrub::Scrub(Env& env, MemberSet& members, RangeLock& locks, Healer& healer, HealthKeeper& health,
             Options options)
    : env_(env),
      members_(members),
      locks_(locks),
      healer_(healer),
      health_(health),
      options_(options),
      pages_(members_.layout().volume_pages()),
      wake_(env) {}

void Scrub::start() {
    wanted_ = true;
    wake_.notify_all();
}

void Scrub::stop() {
    stopping_ = true;
    wake_.notify_all();
}

uint64_t Scrub::sum_of(uint64_t blockdev::MemberCounters::* counter) const {
    uint64_t sum = 0;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].member != nullptr) sum += members_.member(i).counters().*counter;
    }
    return sum;
}

ScrubReport Scrub::report() const {
    const ScrubPlace& place = health_.scrub();
    ScrubReport report;
    report.running = running_;
    report.next_page = place.next_page;
    report.pages = pages_;
    report.started_s = place.started_s;
    report.finished_s = place.finished_s;
    report.passes = place.passes;
    report.blocks_checked = blocks_checked_;
    report.blocks_healed = since(sum_of(&MemberCounters::blocks_healed), healed_before_);
    report.tables_repaired = since(sum_of(&MemberCounters::tables_repaired), repaired_before_);
    report.logs_healed = since(sum_of(&MemberCounters::log_blocks_healed), logs_healed_before_);
    const uint64_t done = place.next_page - std::min(place.next_page, pass_began_page_);
    if (running_ && done != 0) {
        const uint64_t spent_s = (env_.now_ns() - pass_began_ns_) / kSecond;
        report.remaining_s = spent_s * (pages_ - place.next_page) / done;
    }
    return report;
}

Task<void> Scrub::run() {
    while (!stopping_) {
        const bool due = co_await wait_for_pass();
        if (due && !stopping_) co_await make_pass();
    }
}

// True when a pass is to begin, or to go on.
Task<bool> Scrub::wait_for_pass() {
    const ScrubPlace& place = health_.scrub();
    if (wanted_ || (place.under_way() && options_.interval_s != 0)) co_return true;
    const uint64_t last = std::max(place.started_s, options_.created_s);
    const uint64_t now = env_.wall_clock_s();
    if (options_.interval_s == 0) {
        co_await wake_.wait();
    } else if (now >= last + options_.interval_s) {
        co_return true;
    } else {
        const uint64_t left_ns = (last + options_.interval_s - now) * kSecond;
        co_await wake_.wait_until(env_.now_ns() + std::min(left_ns, kLookAgain_ns));
    }
    co_return false;
}

Task<void> Scrub::make_pass() {
    ScrubPlace& place = health_.scrub();
    if (!place.under_way() || wanted_) {
        place.next_page = 0;
        place.started_s = std::max<uint64_t>(env_.wall_clock_s(), place.finished_s + 1);
    }
    running_ = true;
    pass_began_ns_ = env_.now_ns();
    pass_began_page_ = place.next_page;
    blocks_checked_ = 0;
    healed_before_ = sum_of(&MemberCounters::blocks_healed);
    repaired_before_ = sum_of(&MemberCounters::tables_repaired);
    logs_healed_before_ = sum_of(&MemberCounters::log_blocks_healed);
    env_.log(LogLevel::info, "event=scrub_begins page=" + std::to_string(place.next_page) +
                                 " pages=" + std::to_string(pages_));
    while (place.next_page < pages_ && !stopping_) {
        const uint64_t began = env_.now_ns();
        const uint64_t requests = client_requests_;
        co_await scrub_page(place.next_page);
        if (stopping_) break;
        ++place.next_page;
        if (place.next_page % kSavePages == 0) health_.touch();
        co_await rest(env_.now_ns() - began, requests);
    }
    if (!stopping_) co_await scrub_rest_of_members();
    running_ = false;
    if (stopping_) co_return;
    wanted_ = false;
    place.finished_s = std::max<uint64_t>(env_.wall_clock_s(), place.started_s);
    ++place.passes;
    health_.touch();
    const ScrubReport done = report();
    env_.log(LogLevel::info, "event=scrub_ends blocks=" + std::to_string(done.blocks_checked) +
                                 " healed=" + std::to_string(done.blocks_healed) +
                                 " tables_repaired=" + std::to_string(done.tables_repaired) +
                                 " logs_healed=" + std::to_string(done.logs_healed) +
                                 " unrecoverable=" + std::to_string(health_.lost().size()));
}

Task<void> Scrub::rest(uint64_t work_ns, uint64_t requests_before) {
    const bool active = client_requests_ != requests_before;
    const uint64_t rest =
        scrub_rest_ns(work_ns, active, wanted_, options_.interval_s * kSecond, pages_);
    const uint64_t until = env_.now_ns() + rest;
    const bool was_wanted = wanted_;
    while (!stopping_ && wanted_ == was_wanted && env_.now_ns() < until) {
        co_await wake_.wait_until(until);
    }
}

Task<void> Scrub::scrub_page(uint64_t page) {
    co_await scrub_tables(page);
    co_await compare_tables(page);
    const uint64_t end = std::min((page + 1) * kPageBlocks, members_.layout().volume_blocks());
    Scope scope(env_);
    for (uint64_t block = page * kPageBlocks; block < end; block += kChunkBlocks) {
        scope.start(scrub_data(block, std::min(kChunkBlocks, end - block)));
    }
    co_await scope.join();
}

Task<void> Scrub::scrub_tables(uint64_t page) {
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (!members_.readable(i)) continue;
        const uint64_t before = members_.member(i).counters().tables_repaired;
        const Result<bool> whole = co_await members_.member(i).inspect_table(page);
        if (!members_.readable(i)) continue;
        Status status;
        if (!whole.ok() || !whole.value()) {
            const std::vector<Member*> members = members_.readable_members(i);
            status = co_await repair_table(members, 0, page);
        }
        if (members_.readable(i)) health_.note_table(i, page, status.ok(), before);
    }
}

// The newest checksums are the same on all in-sync members. Where they are not, although each table
// proves itself, the member whose page is older has missed something.
Task<void> Scrub::compare_tables(uint64_t page) {
    const uint64_t first = page * kPageBlocks;
    RangeLock::Hold hold(locks_, first, first + kPageBlocks, RangeLock::Mode::shared);
    co_await hold;
    PageValues newest;
    std::vector<PageValues> values(members_.size());
    std::vector<bool> known(members_.size());
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        const Status status =
            co_await members_.member(i).page_values(page, PageVersion::current, values[i]);
        known[i] = status.ok();
        if (known[i] && values[i].sequence >= newest.sequence) newest = values[i];
    }
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!known[i] || !members_.readable(i)) continue;
        if (std::memcmp(&values[i].values, &newest.values, sizeof newest.values) == 0) continue;
        if (values[i].sequence == newest.sequence) {
            health_.note(i, "event=tables_differ page=" + std::to_string(page));
            continue;
        }
        const std::vector<Member*> members = members_.readable_members(i);
        const Status rebuilt = co_await rebuild_table(members, 0, page);
        if (!members_.readable(i)) continue;
        health_.note(i, "event=" + std::string(rebuilt.ok() ? "table_was_old" : "table_damaged") +
                            " page=" + std::to_string(page));
    }
}

Task<void> Scrub::scrub_data(uint64_t first_block, uint64_t count) {
    Scope scope(env_);
    RangeLock::Hold hold(locks_, first_block, first_block + count, RangeLock::Mode::shared);
    co_await hold;
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (members_.readable(i)) scope.start(read_copy(i, first_block, count));
    }
    co_await scope.join();
}

Task<void> Scrub::read_copy(size_t member, uint64_t first_block, uint64_t count) {
    AlignedBytes data = allocate_aligned(count * kBlockSize);
    const Status whole = co_await members_.member(member).read(first_block, count, data.get());
    blocks_checked_ += count;
    if (whole.ok()) co_return;
    for (uint64_t i = 0; i < count && !stopping_ && members_.readable(member); ++i) {
        const Status one = co_await members_.member(member).read(first_block + i, 1, data.get());
        if (!one.ok() && members_.readable(member)) healer_.suspect(member, first_block + i);
    }
}

Task<void> Scrub::scrub_rest_of_members() {
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (!members_.readable(i)) continue;
        const Result<uint64_t> healed = co_await members_.member(i).inspect_log_and_roots();
        if (!members_.readable(i)) continue;
        if (!healed.ok()) {
            health_.note(i, "event=log_damaged error=\"" + healed.error().text() + "\"");
        } else if (healed.value() != 0) {
            health_.note(i, "event=log_healed blocks=" + std::to_string(healed.value()));
        }
    }
    // A pass has ended when what it found is healed.
    static_cast<void>(co_await healer_.drain(env_.now_ns() + 60 * kSecond));
    if (report().blocks_healed == 0) co_return;
    // And stays so if the power fails now. An error shows at the next flush of the volume again.
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (!members_.readable(i)) continue;
        const Status flushed = co_await members_.member(i).flush();
        if (flushed.ok() || !members_.readable(i)) continue;
        health_.note(i, "event=flush_failed error=\"" + flushed.error().text() + "\"");
    }
}

}  // namespace gemel::mirror
