// SPDX-License-Identifier: Apache-2.0
#include "mirror/scrub.h"

#include <algorithm>
#include <cstring>

#include "mirror/table_peers.h"

namespace gemel::mirror {

using blockdev::kBlockSize;
using blockdev::kPageBlocks;
using blockdev::Member;
using blockdev::PageValues;
using blockdev::PageVersion;

namespace {

constexpr uint64_t kRestMax_ns = 60 * kSecond;
constexpr uint64_t kLookAgain_ns = 3600 * kSecond;  // At the clock, which may be set.
constexpr uint64_t kPagesAhead = 2;                 // Tables are read before their data.
constexpr uint64_t kSaveEvery_ns = 30 * kSecond;    // What a crash costs a pass at most.

static_assert(kPageBlocks % Scrub::kPieceBlocks == 0);

// A member that leaves takes its counts along.
uint64_t since(uint64_t sum, uint64_t before) { return sum - std::min(sum, before); }

}  // namespace

uint64_t scrub_rest_for_schedule_ns(uint64_t interval_ns, uint64_t pages) {
    return std::min(interval_ns / 2 / std::max<uint64_t>(pages, 1), kRestMax_ns);
}

Scrub::Scrub(Env& env, MemberSet& members, RangeLock& locks, Healer& healer, HealthKeeper& health,
             BackgroundPace& pace, Options options)
    : env_(env),
      members_(members),
      locks_(locks),
      healer_(healer),
      health_(health),
      pace_(pace),
      options_(options),
      pages_(members_.layout().volume_pages()),
      wake_(env),
      progress_(env) {}

void Scrub::start() {
    wanted_ = true;
    wake_.notify_all();
}

void Scrub::stop() {
    stopping_ = true;
    wake_.notify_all();
    progress_.notify_all();
}

Scrub::Counts Scrub::counts_so_far() const {
    Counts sum;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].member == nullptr) continue;
        const blockdev::MemberCounters& counters = members_.member(i).counters();
        sum.blocks_healed += counters.blocks_healed;
        sum.tables_repaired += counters.tables_repaired;
        sum.logs_healed += counters.log_blocks_healed;
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
    const Counts counts = counts_so_far();
    report.blocks_healed = since(counts.blocks_healed, counts_before_.blocks_healed);
    report.tables_repaired = since(counts.tables_repaired, counts_before_.tables_repaired);
    report.logs_healed = since(counts.logs_healed, counts_before_.logs_healed);
    report.found = health_.found_counts();
    report.damage = health_.found_ranges();
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
    begin_pass();
    Scope reads(env_);
    reads.start(go_ahead_with_tables(health_.scrub().next_page));
    for (uint64_t page = health_.scrub().next_page; page < pages_ && !stopping_; ++page) {
        co_await scrub_page(page, reads);
        if (wanted_ || page + 1 == pages_) continue;
        const uint64_t rest = scrub_rest_for_schedule_ns(options_.interval_s * kSecond, pages_);
        co_await rest_until(env_.now_ns() + rest);
    }
    co_await reads.join();
    parts_left_.clear();
    if (!stopping_) co_await scrub_rest_of_members();
    running_ = false;
    buffers_.clear();
    if (!stopping_) end_pass();
}

void Scrub::begin_pass() {
    ScrubPlace& place = health_.scrub();
    if (!place.under_way() || wanted_) {
        place.next_page = 0;
        place.started_s = std::max<uint64_t>(env_.wall_clock_s(), place.finished_s + 1);
    }
    running_ = true;
    pass_began_ns_ = env_.now_ns();
    pass_began_page_ = place.next_page;
    page_begun_ = place.next_page;
    saved_ns_ = pass_began_ns_;
    blocks_checked_ = 0;
    counts_before_ = counts_so_far();
    health_.forget_found();
    env_.log(LogLevel::info, "event=scrub_begins page=" + std::to_string(place.next_page) +
                                 " pages=" + std::to_string(pages_));
}

void Scrub::end_pass() {
    ScrubPlace& place = health_.scrub();
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

// Until then, or until somebody asks for speed.
Task<void> Scrub::rest_until(uint64_t time_ns) {
    const bool was_wanted = wanted_;
    while (!stopping_ && wanted_ == was_wanted && env_.now_ns() < time_ns) {
        co_await wake_.wait_until(time_ns);
    }
}

// Returns when all reads of the page have been started; they end in `reads`.
Task<void> Scrub::scrub_page(uint64_t page, Scope& reads) {
    parts_left_.push_back(1);
    page_begun_ = page;
    progress_.notify_all();
    while (tables_until_ <= page && !stopping_) co_await progress_.wait();
    const uint64_t end = std::min((page + 1) * kPageBlocks, members_.layout().volume_blocks());
    for (uint64_t block = page * kPageBlocks; block < end && !stopping_;) {
        co_await wait_for_pieces(pace_.step().at_once - 1);
        if (stopping_) break;
        const uint64_t began = env_.now_ns();
        const uint64_t count = std::min(pace_.step().piece_blocks, end - block);
        ++parts_left_[page - health_.scrub().next_page];
        ++pieces_in_flight_;
        reads.start(scrub_data(page, block, count));
        block += count;
        // What rests after each piece has one at a time.
        if (pace_.step().rests != 0 && pace_.clients_are_there()) co_await wait_for_pieces(0);
        co_await rest_until(env_.now_ns() + pace_.rest_ns(env_.now_ns() - began));
    }
    part_done(page);
}

// Their reads are small and each needs the one before: behind the large ones they would be waited
// for.
Task<void> Scrub::go_ahead_with_tables(uint64_t first_page) {
    tables_until_ = first_page;
    for (uint64_t page = first_page; page < pages_ && !stopping_; ++page) {
        while (page > page_begun_ + kPagesAhead && !stopping_) co_await progress_.wait();
        if (stopping_) break;
        co_await scrub_tables(page);
        co_await compare_tables(page);
        tables_until_ = page + 1;
        progress_.notify_all();
    }
}

Task<void> Scrub::wait_for_pieces(size_t most) {
    while (pieces_in_flight_ > most) co_await progress_.wait();
}

// Pages may be done in another order than they were begun; the place is where the first one is not.
void Scrub::part_done(uint64_t page) {
    if (stopping_) return;  // Then what looks done may have been passed over.
    ScrubPlace& place = health_.scrub();
    --parts_left_[page - place.next_page];
    while (!parts_left_.empty() && parts_left_.front() == 0) {
        parts_left_.pop_front();
        ++place.next_page;
    }
    if (env_.now_ns() < saved_ns_ + kSaveEvery_ns) return;
    saved_ns_ = env_.now_ns();
    health_.touch();
}

Task<void> Scrub::scrub_tables(uint64_t page) {
    // Members may come while this goes on.
    std::vector<uint8_t> whole(blockdev::kMaximumMembers, 1);
    std::vector<uint64_t> before(blockdev::kMaximumMembers);
    Scope scope(env_);
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        before[i] = members_.member(i).counters().tables_repaired;
        scope.start(inspect_table(i, page, whole));
    }
    co_await scope.join();
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (!members_.readable(i)) continue;
        Status status;
        if (whole[i] == 0) {
            const std::vector<Member*> members = members_.readable_members(i);
            status = co_await repair_table(members, 0, page);
        }
        if (members_.readable(i)) health_.note_table(i, page, status.ok(), before[i]);
    }
}

Task<void> Scrub::inspect_table(size_t member, uint64_t page, std::vector<uint8_t>& whole) {
    const Result<bool> found = co_await members_.member(member).inspect_table(page);
    whole[member] = found.ok() && found.value() ? 1 : 0;
}

// The newest checksums are the same on all in-sync members. Where they are not, although each table
// proves itself, the member whose page is older has missed something.
Task<void> Scrub::compare_tables(uint64_t page) {
    const uint64_t first = page * kPageBlocks;
    RangeLock::Hold hold(locks_, first, first + kPageBlocks, RangeLock::Mode::shared);
    co_await hold;
    PageValues newest;
    std::vector<PageValues> values(blockdev::kMaximumMembers);  // Members may come meanwhile.
    std::vector<bool> known(blockdev::kMaximumMembers);
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

Task<void> Scrub::scrub_data(uint64_t page, uint64_t first_block, uint64_t count) {
    Scope scope(env_);
    RangeLock::Hold hold(locks_, first_block, first_block + count, RangeLock::Mode::shared);
    co_await hold;
    std::optional<BackgroundPace::Piece> piece;
    piece.emplace(pace_);
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (members_.readable(i)) scope.start(read_copy(i, first_block, count));
    }
    co_await scope.join();
    piece.reset();
    --pieces_in_flight_;
    part_done(page);
    progress_.notify_all();
}

Task<void> Scrub::read_copy(size_t member, uint64_t first_block, uint64_t count) {
    AlignedBytes data;
    if (buffers_.empty()) {
        data = allocate_aligned(kPieceBlocks * kBlockSize);
    } else {
        data = std::move(buffers_.back());
        buffers_.pop_back();
    }
    const Status whole = co_await members_.member(member).read(first_block, count, data.get());
    blocks_checked_ += count;
    for (uint64_t i = 0; !whole.ok() && i < count && !stopping_; ++i) {
        if (!members_.readable(member)) break;
        const Status one = co_await members_.member(member).read(first_block + i, 1, data.get());
        if (!one.ok() && members_.readable(member)) healer_.suspect(member, first_block + i);
    }
    buffers_.push_back(std::move(data));
    if (!stopping_ && members_.readable(member)) co_await clear_zeros(member, first_block, count);
}

// What a disk has put where nobody reads, and whoever mounts home as a plain image would see.
Task<void> Scrub::clear_zeros(size_t member, uint64_t first_block, uint64_t count) {
    const auto found = co_await members_.member(member).inspect_zeros(first_block, count);
    if (!found.ok()) co_return;  // Tables and devices that fail have been told of already.
    for (const blockdev::StrayBlock& stray : found.value()) {
        if (!members_.readable(member)) break;
        const Result<uint64_t> previous =
            co_await members_.member(member).previous_checksum(stray.block);
        const bool lost = previous.ok() && previous.value() == stray.checksum;
        const DamageCause cause = lost ? DamageCause::lost_write : DamageCause::bit_rot;
        health_.found(member, cause, stray.block);
        health_.count(member, cause);
        health_.note(member, "event=cleared block=" + std::to_string(stray.block) +
                                 " cause=" + kDamageCauseNames[static_cast<size_t>(cause)]);
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
    // And stays so if the power fails now, also what readers had healed before. An error shows at
    // the next flush of the volume again.
    for (size_t i = 0; i < members_.size() && !stopping_; ++i) {
        if (!members_.readable(i)) continue;
        const Status flushed = co_await members_.member(i).flush();
        if (flushed.ok() || !members_.readable(i)) continue;
        health_.note(i, "event=flush_failed error=\"" + flushed.error().text() + "\"");
    }
}

}  // namespace gemel::mirror
