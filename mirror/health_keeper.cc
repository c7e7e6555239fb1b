// SPDX-License-Identifier: Apache-2.0
#include "mirror/health_keeper.h"

#include <algorithm>

namespace gemel::mirror {

using blockdev::Member;
using blockdev::MemberHealth;

namespace {

constexpr uint64_t kSaveDelay_ns = kSecond;  // What happens meanwhile is saved with it.
static_assert(kDamageCauses <= blockdev::kHealthCauses);

}  // namespace

HealthKeeper::HealthKeeper(Env& env, MemberSet& members)
    : env_(env), members_(members), wake_(env) {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].member == nullptr) continue;
        take_over(i);
        if (!members_.readable(i)) continue;
        const MemberHealth& health = members_.member(i).health();
        const uint64_t blocks = members_.layout().volume_blocks();
        for (const MemberHealth::Range& range : health.unrecoverable) {
            if (range.first_block >= blocks) continue;
            lost_.add({range.first_block, std::min(range.block_count, blocks - range.first_block)});
        }
        const ScrubPlace place{health.scrub_next_page, health.scrub_started_s,
                               health.scrub_finished_s, health.scrub_passes};
        const bool newer = place.passes > scrub_.passes ||
                           (place.passes == scrub_.passes && place.next_page > scrub_.next_page);
        if (newer || scrub_.started_s == 0) scrub_ = place;
    }
}

void HealthKeeper::take_over(size_t member) {
    const MemberHealth& health = members_.member(member).health();
    std::copy_n(health.healed_by_cause.begin(), kDamageCauses, damage_[member].begin());
    events_[member] = {health.last_event, health.last_event_s};
}

void HealthKeeper::forget(size_t member) {
    damage_[member] = {};
    events_[member] = {};
    for (size_t cause = 0; cause < kDamageCauses; ++cause) {
        found_counts_[cause] -= std::min(found_counts_[cause], found_[member][cause].size());
    }
    found_[member] = {};
}

void HealthKeeper::note(size_t member, const std::string& event) {
    env_.log(LogLevel::warning, event + " member=" + members_[member].path);
    events_[member] = {event, env_.wall_clock_s()};
    touch();
}

void HealthKeeper::note_table(size_t member, uint64_t page, bool whole, uint64_t repaired_before) {
    if (whole && members_.member(member).counters().tables_repaired == repaired_before) return;
    note(member, "event=" + std::string(whole ? "table_repaired" : "table_damaged") +
                     " page=" + std::to_string(page));
}

void HealthKeeper::found(size_t member, DamageCause cause, uint64_t block) {
    const auto index = static_cast<size_t>(cause);
    BlockSet& blocks = found_[member][index];
    if (blocks.contains(block)) return;
    uint64_t listed = 0;
    for (const uint64_t count : found_counts_) listed += count;
    ++found_counts_[index];
    if (listed < kFoundBlocksMax) blocks.add({block, 1});
}

void HealthKeeper::recount(size_t member, DamageCause thought, DamageCause cause, uint64_t block) {
    uint64_t& counted = damage_[member][static_cast<size_t>(thought)];
    if (counted != 0) {
        --counted;
        count(member, cause);
    }
    BlockSet& blocks = found_[member][static_cast<size_t>(thought)];
    if (blocks.contains(block)) {
        blocks.remove({block, 1});
        --found_counts_[static_cast<size_t>(thought)];
        found(member, cause, block);
    }
    note(member, std::string("event=explained block=") + std::to_string(block) +
                     " cause=" + kDamageCauseNames[static_cast<size_t>(cause)]);
}

std::vector<DamagedRange> HealthKeeper::found_ranges() const {
    std::vector<DamagedRange> all;
    for (size_t member = 0; member < found_.size(); ++member) {
        for (size_t cause = 0; cause < kDamageCauses; ++cause) {
            for (const BlockRange& range : found_[member][cause].ranges()) {
                all.push_back({member, static_cast<DamageCause>(cause), range});
            }
        }
    }
    return all;
}

void HealthKeeper::forget_found() {
    for (auto& by_cause : found_) by_cause = {};
    found_counts_ = {};
}

void HealthKeeper::touch() {
    changed_ = true;
    wake_.notify_all();
}

void HealthKeeper::stop() {
    stopping_ = true;
    wake_.notify_all();
}

Task<void> HealthKeeper::run() {
    while (!stopping_) {
        if (!changed_) {
            co_await wake_.wait();
            continue;
        }
        const uint64_t due = env_.now_ns() + kSaveDelay_ns;
        while (!stopping_ && env_.now_ns() < due) co_await wake_.wait_until(due);
        if (!stopping_) co_await save();
    }
}

Task<void> HealthKeeper::save() {
    changed_ = false;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.flows(i)) continue;
        Member& member = members_.member(i);
        MemberHealth health = member.health();
        std::copy(damage_[i].begin(), damage_[i].end(), health.healed_by_cause.begin());
        health.last_event = events_[i].text;
        health.last_event_s = events_[i].time_s;
        health.scrub_next_page = scrub_.next_page;
        health.scrub_started_s = scrub_.started_s;
        health.scrub_finished_s = scrub_.finished_s;
        health.scrub_passes = scrub_.passes;
        health.unrecoverable.clear();
        for (const BlockRange& range : lost_.ranges()) {
            health.unrecoverable.push_back({range.first, range.count});
        }
        health.unrecoverable_is_complete = true;
        const Status saved = co_await member.save_health(std::move(health));
        if (!saved.ok() && members_.flows(i)) {
            env_.log(LogLevel::warning,
                     members_[i].path +
                         ": its health record cannot be written: " + saved.error().text());
        }
    }
}

}  // namespace gemel::mirror
