// SPDX-License-Identifier: Apache-2.0
#include "mirror/health_keeper.h"

#include <algorithm>

namespace gemel::mirror {

using blockdev::MemberHealth;

namespace {

constexpr uint64_t kSaveDelay_ns = kSecond;  // What happens meanwhile is saved with it.
static_assert(kDamageCauses <= blockdev::kHealthCauses);

}  // namespace

HealthKeeper::HealthKeeper(Env& env, std::vector<blockdev::Member*> members)
    : env_(env),
      members_(std::move(members)),
      damage_(members_.size()),
      events_(members_.size()),
      wake_(env) {
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberHealth& health = members_[i]->health();
        std::copy_n(health.healed_by_cause.begin(), kDamageCauses, damage_[i].begin());
        events_[i] = {health.last_event, health.last_event_s};
        const uint64_t blocks = members_[i]->layout().volume_blocks();
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

void HealthKeeper::note(size_t member, const std::string& event) {
    env_.log(LogLevel::warning, event + " member=" + members_[member]->path());
    events_[member] = {event, env_.wall_clock_s()};
    touch();
}

void HealthKeeper::note_table(size_t member, uint64_t page, bool whole, uint64_t repaired_before) {
    if (whole && members_[member]->counters().tables_repaired == repaired_before) return;
    note(member, "event=" + std::string(whole ? "table_repaired" : "table_damaged") +
                     " page=" + std::to_string(page));
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
        MemberHealth health = members_[i]->health();
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
        const Status saved = co_await members_[i]->save_health(std::move(health));
        if (!saved.ok()) {
            env_.log(LogLevel::warning,
                     members_[i]->path() +
                         ": its health record cannot be written: " + saved.error().text());
        }
    }
}

}  // namespace gemel::mirror
