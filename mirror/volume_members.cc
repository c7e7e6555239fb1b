// SPDX-License-Identifier: Apache-2.0
//
// The parts of Volume that are about its members: which of them fail, leave and return, and what
// becomes of them at the end.
#include "mirror/volume.h"

#include "blockdev/assert.h"

namespace gemel::mirror {

using blockdev::Member;

namespace {

// What a device that hangs may cost beyond the deadline.
constexpr uint64_t kCloseGrace_ns = 3 * kSecond;

}  // namespace

// --- Members that fail, leave and return

// What was given up already fails once more in everything that was under way, and goes on hanging.
void Volume::member_failed(const MemberFailure& failure) {
    MemberSet::Slot& slot = members_[failure.member];
    if (stopped_ || !members_.in_use(failure.member)) return;
    std::string why = failure.what;
    if (const std::string text = failure.error.text(); !text.empty()) why += ": " + text;
    const bool is_last = members_.readable(failure.member) && members_.readable_count() == 1;
    if (is_last && !keep_one_that_lags()) return stop(slot.path + ": " + why);
    members_.give_up(failure.member, MemberState::failed, why);
    health_.note(failure.member, "event=member_failed why=\"" + why + "\"");
    scope_.start(reconfigure());
}

// It counts until the configuration without it is in force, and gets all there is.
void Volume::member_lags(size_t index, const std::string& why) {
    if (stopped_ || closed_) return;
    members_.begin_to_lag(index, why);
    health_.note(index, "event=member_slow why=\"" + why + "\"");
    scope_.start(reconfigure());
}

// One that is on its way out only because it is slow still has everything.
bool Volume::keep_one_that_lags() {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].leaving != MemberState::lagging) continue;
        members_.keep(i);
        return true;
    }
    return false;
}

Task<bool> Volume::reconfigured() {
    co_await reconfigure();
    co_return !stopped_;
}

Task<void> Volume::reconfigure() {
    const Status applied = co_await configurator_.apply();
    if (!applied.ok()) {
        stop("the configuration cannot be changed: " + applied.error().text());
        co_return;
    }
    sequencer_.members_changed();
    sequencer_.resume();
    pacer_.note_progress();
}

void Volume::stop(const std::string& because) {
    if (stopped_) return;
    stopped_because_ = because;
    stopped_ = true;
    env_.log(LogLevel::error,
             name_ + ": stopped: " + stopped_because_ + "; every request now gets an I/O error");
    sequencer_.stop(Error{Errc::io, 0, "the volume has stopped"});
    stop_workers();
}

void Volume::stop_workers() {
    pacer_.stop();
    flusher_.stop();
    healer_.stop();
    scrub_.stop();
    health_.stop();
    resync_.stop();
    rejoiner_.stop();
    slow_watch_.stop();
    reader_.stop();
    spares_.stop();
    watchdog_.stop();
}

std::optional<size_t> Volume::find_member(std::string_view path_or_uuid) const {
    for (size_t i = 0; i < members_.size(); ++i) {
        const MemberSet::Slot& slot = members_[i];
        if (!members_.is_member(i)) continue;
        if (slot.path == path_or_uuid || slot.uuid.text() == path_or_uuid) return i;
    }
    return std::nullopt;
}

Task<std::optional<Problem>> Volume::take_offline(size_t index) {
    const MemberSet::Slot& slot = members_[index];
    if (stopped_ || closed_) co_return Problem{Errc::closed, name_ + ": is not being served"};
    if (slot.state == MemberState::offline) co_return std::nullopt;
    if (slot.leaving) {
        co_return Problem{Errc::busy, slot.path + ": is leaving at this moment; try again"};
    }
    if (!may_move(slot.state, MemberState::offline)) {
        co_return Problem{Errc::invalid,
                          slot.path + ": is a " + mirror::name(slot.state) + "; remove it instead"};
    }
    if (members_.readable(index) && members_.readable_count() == 1) {
        co_return Problem{Errc::invalid, slot.path +
                                             ": is the only member in sync: without it the volume "
                                             "has no good copy; bring another one back first"};
    }
    const std::string why = "taken out by the operator";
    if (slot.member != nullptr) {
        members_.give_up(index, MemberState::offline, why);
    } else {
        members_.move(index, MemberState::offline, why);
    }
    health_.note(index, "event=member_offline");
    co_await reconfigure();
    if (stopped_) co_return Problem{Errc::io, name_ + ": stopped: " + stopped_because_};
    co_return std::nullopt;
}

Task<std::optional<Problem>> Volume::bring_online(size_t index) {
    const MemberSet::Slot& slot = members_[index];
    if (stopped_ || closed_) co_return Problem{Errc::closed, name_ + ": is not being served"};
    if (slot.state != MemberState::offline && !slot.leaving) {
        rejoiner_.hurry(index);
        slow_watch_.hurry(index);
        co_return std::nullopt;
    }
    if (slot.member != nullptr) {
        co_return Problem{Errc::busy,
                          slot.path + ": its device has not answered everything yet; try again"};
    }
    members_.move(index, MemberState::missing, "on its way back");
    rejoiner_.hurry(index);
    co_await reconfigure();
    if (stopped_) co_return Problem{Errc::io, name_ + ": stopped: " + stopped_because_};
    co_return std::nullopt;
}

Task<Status> Volume::close(uint64_t deadline_ns) {
    CHECK(!closed_);
    close_down();
    watch_scope_.start(end_patience(deadline_ns + kCloseGrace_ns));
    resync_.stop();
    rejoiner_.stop();
    slow_watch_.stop();
    // Whoever is not waited for now is not waited for at the end either.
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].state != MemberState::lagging || !members_.in_use(i)) continue;
        members_.give_up(i, MemberState::failed, members_[i].why);
    }
    spares_.stop();
    Status drained = Status::success();
    if (!stopped_) drained = co_await pacer_.drain(deadline_ns);
    if (!stopped_) static_cast<void>(co_await healer_.drain(deadline_ns));
    closed_ = true;
    scrub_.stop();
    healer_.stop();
    health_.stop();
    pacer_.stop();
    flusher_.stop();
    sequencer_.stop(Error{Errc::closed, 0, "the volume is closed"});
    co_await scope_.join();
    while (!sequencer_.idle() || !locks_.idle()) co_await sleep_for(env_, kMillisecond);
    if (!stopped_) co_await health_.save();
    if (!stopped_ && drained.ok()) drained = co_await release_members();
    while (!is_quiet() && env_.now_ns() < deadline_ns) co_await sleep_for(env_, kMillisecond);
    patience_ended_ = true;
    closing_.notify_all();
    reader_.stop();
    watchdog_.stop();
    co_await watch_scope_.join();
    co_await scope_.join();
    co_await flusher_.join();
    // A device that hangs keeps its memory, and whatever would work on its answer.
    const bool quiet = is_quiet();
    if (!quiet) {
        env_.log(LogLevel::warning, name_ + ": a member still hangs; it is left to the kernel");
        static_cast<void>(pool_.release());
    }
    rejoiner_.let_go();
    members_.let_go(quiet);
    co_return drained;
}

// A member is closed in order only if nothing is left in its log. One that cannot be is found as
// after a crash, and lacks nothing; the others are enough.
Task<Status> Volume::release_members() {
    Status outcome = Error{Errc::io, 0, "no member could be closed in order"};
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.readable(i)) continue;
        const Status released = co_await members_.member(i).close();
        if (released.ok()) {
            outcome = released;
            continue;
        }
        env_.log(LogLevel::warning,
                 members_[i].path + ": was not closed in order: " + released.error().text());
    }
    co_return outcome;
}

// Members that hang must not keep the volume from closing: all calls to them end.
Task<void> Volume::end_patience(uint64_t deadline_ns) {
    while (!patience_ended_ && env_.now_ns() < deadline_ns) {
        co_await closing_.wait_until(deadline_ns);
    }
    if (patience_ended_) co_return;
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].guard && !members_[i].guard->quiet()) members_[i].guard->give_up();
    }
    flusher_.stop();
    members_.changed().notify_all();
}

bool Volume::is_quiet() const {
    for (size_t i = 0; i < members_.size(); ++i) {
        if (members_[i].guard && !members_[i].guard->quiet()) return false;
    }
    return sequencer_.quiet() && rejoiner_.quiet();
}

VolumeReport Volume::report() const {
    VolumeReport report;
    report.name = name_;
    report.uuid = uuid_;
    report.size = geometry_.size;
    report.state = stopped_ ? "stopped" : "serving";
    report.stopped_because = stopped_because_;
    report.epoch = configurator_.in_force().epoch.number;
    report.commit_sequence = sequencer_.commit_point();
    report.stable_sequence = flusher_.stable_point();
    report.reads = counters_.reads;
    report.writes = counters_.writes;
    report.flushes = counters_.flushes;
    report.trims = counters_.trims;
    report.bytes_read = counters_.bytes_read;
    report.bytes_written = counters_.bytes_written;
    report.batches = sequencer_.batches();
    report.checkpoints = pacer_.checkpoints();
    report.reads_raced = reader_.counters().raced;
    report.races_won = reader_.counters().races_won;
    report.probes = reader_.counters().probes;
    report.short_of_space = pacer_.short_of_space();
    report.unrecoverable_blocks = health_.lost().size();
    report.unrecoverable = health_.lost().ranges();
    report.scrub = scrub_.report();
    report.resync = resync_.report();
    if (const std::optional<size_t> current = rejoiner_.current()) {
        report.resync_member = members_[*current].path;
    }
    std::vector<size_t> places(members_.size(), SIZE_MAX);  // In the report.
    for (size_t i = 0; i < members_.size(); ++i) {
        if (!members_.is_member(i)) continue;
        places[i] = report.members.size();
        report.members.push_back(member_report(i));
    }
    std::erase_if(report.scrub.damage,
                  [&](const DamagedRange& range) { return places[range.member] == SIZE_MAX; });
    for (DamagedRange& range : report.scrub.damage) range.member = places[range.member];
    return report;
}

MemberReport Volume::member_report(size_t i) const {
    const MemberSet::Slot& slot = members_[i];
    MemberReport out;
    out.uuid = slot.uuid;
    out.path = slot.path;
    out.state = mirror::name(slot.leaving.value_or(slot.state));
    out.why = slot.why;
    if (const auto listed = configurator_.listed_as(slot.uuid)) {
        out.configured = mirror::name(*listed);
    }
    out.is_spare = slot.is_spare;
    if (slot.replaces) out.replaces = members_[*slot.replaces].path;
    out.released = slot.member == nullptr && !slot.guard;
    out.log_bytes_total = members_.layout().log_size;
    out.damage = health_.damage(i);
    out.last_event = health_.last_event(i);
    out.last_event_s = health_.last_event_s(i);
    const Member* member = slot.member;
    const blockdev::MemberCounters& counters =
        member != nullptr ? member->counters() : slot.last_counters;
    out.blocks_read = counters.blocks_read;
    out.blocks_verified = counters.blocks_verified;
    out.mismatches = counters.mismatches;
    out.blocks_healed = counters.blocks_healed;
    out.log_blocks_healed = counters.log_blocks_healed;
    out.tables_repaired = counters.tables_repaired;
    out.read_errors = counters.read_errors;
    out.write_errors = counters.write_errors;
    if (slot.guard) {
        out.read_p50_us = slot.guard->reads().small.quantile_ns(500) / kMicrosecond;
        out.read_p99_us = slot.guard->reads().small.p99_ns() / kMicrosecond;
    }
    if (member == nullptr) return out;
    out.direct = member->traits().direct || member->traits().is_block_device;
    out.logged_sequence = member->logged_sequence();
    out.stable_sequence = flusher_.stable_point();
    out.checkpoint_sequence = member->tail_sequence() - 1;
    out.log_bytes_used = member->log_bytes_used();
    if (slot.leaving || !slot.joined) return out;
    const Result<uint64_t> free = member->free_bytes();
    out.free_bytes = free.ok() ? free.value() : 0;
    return out;
}

}  // namespace gemel::mirror
