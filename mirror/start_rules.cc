// SPDX-License-Identifier: Apache-2.0
#include "mirror/start_rules.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "blockdev/assert.h"
#include "blockdev/superblock.h"
#include "mirror/configuration.h"
#include "mirror/lineage.h"

namespace gemel::mirror {

using blockdev::ConfigurationRecord;
using blockdev::ConfiguredState;
using blockdev::EpochRecord;
using blockdev::Superblock;

namespace {

std::tuple<uint64_t, uint64_t> age(const ConfigurationRecord& configuration) {
    return {configuration.epoch.number, configuration.version};
}

// A member with an older epoch than the others missed nothing if its history ends exactly where the
// first epoch that it lacks begins, after the same write, and nothing was written since. Numbers
// alone do not prove it: an old copy of a member may end at the right one after another write.
bool has_all_of(const Superblock& older, const Superblock& newer) {
    const uint64_t next = older.tail.sequence;
    if (newer.tail.sequence != next) return false;
    for (uint32_t i = newer.epoch_count; i-- > 0;) {
        const EpochRecord& epoch = newer.epochs[i];
        if (epoch.first_sequence != next) return false;
        if (epoch.previous_hash == older.tail.previous_hash) return true;
    }
    return false;
}

class StartRules {
public:
    explicit StartRules(const StartCase& start) : start_(start) {
        for (const MemberEvidence& member : start.present) {
            const uint64_t home_end = member.superblock->tail.sequence - 1;
            histories_.push_back(history_of(*member.superblock, member.log_end.value_or(home_end)));
        }
    }
    Outcome<StartDecision> decide();

private:
    const Superblock& superblock(size_t i) const { return *start_.present[i].superblock; }
    const ConfigurationRecord& configuration(size_t i) const { return superblock(i).configuration; }
    const Uuid& uuid(size_t i) const { return superblock(i).member; }
    const std::string& path(size_t i) const { return start_.present[i].path; }
    size_t count() const { return start_.present.size(); }
    std::optional<size_t> find(const Uuid& member) const;
    const AbsentMember* absent(const Uuid& member) const;
    bool is_half_copied(size_t i) const { return is_running(superblock(i).resync); }
    bool same_epoch(size_t i, size_t j) const {
        return configuration(i).epoch.id == configuration(j).epoch.id;
    }

    std::optional<Problem> check_identity() const;
    std::string distrust(size_t i) const;
    std::string distrust_by_witness(size_t i, const ConfigurationRecord& witness) const;
    bool lacks_nothing(size_t i, size_t newest) const;
    bool has_own_writes(size_t i, size_t than) const;
    Outcome<size_t> newer_of(size_t i, size_t j) const;
    Problem split_brain(size_t i, size_t j) const;
    Outcome<size_t> newest_of(const std::vector<size_t>& trusted) const;
    Outcome<size_t> proven_by_witness(const ConfigurationRecord& witness) const;
    Outcome<size_t> proven_by_all() const;
    std::optional<size_t> newest_present() const;
    size_t newest_seen() const;

    std::string name_of(const Uuid& member) const;
    std::string whereabouts(const Uuid& member) const;
    std::string loss(size_t newest) const;
    Problem refused(Problem problem) const;

    void list_members();
    MemberVerdict verdict(const blockdev::ConfiguredMember& listed) const;
    bool in_chain(size_t i) const;
    void judge_out_of_sync(size_t i, MemberVerdict& verdict) const;

    const StartCase& start_;
    std::vector<History> histories_;  // Of each that is present.
    StartDecision decision_;
};

std::optional<size_t> StartRules::find(const Uuid& member) const {
    for (size_t i = 0; i < count(); ++i) {
        if (uuid(i) == member) return i;
    }
    return std::nullopt;
}

const AbsentMember* StartRules::absent(const Uuid& member) const {
    for (const AbsentMember& absent : start_.absent) {
        if (absent.uuid == member) return &absent;
    }
    return nullptr;
}

std::optional<Problem> StartRules::check_identity() const {
    for (size_t i = 0; i < count(); ++i) {
        CHECK(superblock(i).volume == superblock(0).volume);
        for (size_t j = 0; j < i; ++j) {
            if (uuid(i) != uuid(j)) continue;
            return Problem{Errc::invalid, path(i) + ": is the same member as " + path(j) +
                                              " (a copy?); give each member once"};
        }
    }
    return std::nullopt;
}

// --- Whom to trust

// Why a member's own word makes it no proof; empty if it may be one.
std::string StartRules::distrust(size_t i) const {
    if (is_half_copied(i)) return "it was being brought up to date";
    if (!in_sync_in(configuration(i), uuid(i))) return "it was not in sync";
    return "";
}

std::string StartRules::distrust_by_witness(size_t i, const ConfigurationRecord& witness) const {
    if (std::string why = distrust(i); !why.empty()) return why;
    const EpochRecord& own = configuration(i).epoch;
    if (!in_sync_in(witness, uuid(i))) return "it is not in sync, the witness says";
    if (age(configuration(i)) < age(witness)) {
        return "stale: it stopped at epoch " + std::to_string(own.number) + ", write " +
               std::to_string(histories_[i].end) + ", and the witness knows epoch " +
               std::to_string(witness.epoch.number);
    }
    const std::vector<EpochRecord>& epochs = histories_[i].epochs;
    const bool known = std::any_of(epochs.begin(), epochs.end(), [&](const EpochRecord& epoch) {
        return epoch.id == witness.epoch.id;
    });
    const bool forgotten = epochs.front().number > witness.epoch.number;
    if (!known && !forgotten) return "it holds another history than the witness (split brain)";
    return "";
}

bool StartRules::lacks_nothing(size_t i, size_t newest) const {
    if (!distrust(i).empty()) return false;
    for (const size_t member : {i, newest}) {
        if (histories_[member].end + 1 != superblock(member).tail.sequence) return false;
    }
    return has_all_of(superblock(i), superblock(newest));
}

// Writes that member `than` does not have, and that clients may have been told are safe. The tail
// of a log in an epoch that both shared is not that, as long as `than` counted there: nothing was
// acknowledged without it.
bool StartRules::has_own_writes(size_t i, size_t than) const {
    const Lineage lineage = compare_histories(histories_[i], histories_[than]);
    if (!lineage.first_went_on) return false;
    return lineage.first_has_own_epochs || !in_sync_in(configuration(i), uuid(than));
}

Problem StartRules::split_brain(size_t i, size_t j) const {
    const Lineage lineage = compare_histories(histories_[i], histories_[j]);
    return {Errc::stale, path(i) + " and " + path(j) +
                             " hold two different histories of this volume since write " +
                             std::to_string(lineage.sequence) +
                             " (split brain); start with only the one to keep in the volume file"};
}

// Of two members that may each be the newest: the one that has what the other has not.
Outcome<size_t> StartRules::newer_of(size_t i, size_t j) const {
    if (!same_epoch(i, j)) {
        const bool own_i = has_own_writes(i, j);
        const bool own_j = has_own_writes(j, i);
        if (own_i && own_j) return split_brain(i, j);
        if (own_i != own_j) return own_i ? i : j;
        const Lineage lineage = compare_histories(histories_[i], histories_[j]);
        if (lineage.first_went_on != lineage.second_went_on) return lineage.first_went_on ? i : j;
    }
    return age(configuration(j)) > age(configuration(i)) ? j : i;
}

Outcome<size_t> StartRules::newest_of(const std::vector<size_t>& trusted) const {
    size_t best = trusted.front();
    for (const size_t i : trusted) {
        const Outcome<size_t> newer = newer_of(best, i);
        if (!newer.ok()) return newer.error();
        best = newer.value();
    }
    return best;
}

Outcome<size_t> StartRules::proven_by_witness(const ConfigurationRecord& witness) const {
    std::vector<size_t> trusted;
    for (size_t i = 0; i < count(); ++i) {
        if (distrust_by_witness(i, witness).empty()) trusted.push_back(i);
    }
    if (!trusted.empty()) return newest_of(trusted);
    Errc code = Errc::stale;
    std::string found;
    for (uint32_t m = 0; m < witness.member_count; ++m) {
        const Uuid& member = witness.members[m].uuid;
        if (!in_sync_in(witness, member)) continue;
        const std::optional<size_t> i = find(member);
        if (!i) code = Errc::not_found;
        found += (found.empty() ? "" : "; ") +
                 (i ? path(*i) + ": " + distrust_by_witness(*i, witness) : whereabouts(member));
    }
    return Problem{code, "one of the members that were in sync last (the witness knows epoch " +
                             std::to_string(witness.epoch.number) +
                             ") must be there and up to date: " + found};
}

// The one with the newest configuration, whatever it is worth itself.
size_t StartRules::newest_seen() const {
    size_t newest = 0;
    for (size_t i = 1; i < count(); ++i) {
        if (age(configuration(i)) > age(configuration(newest))) newest = i;
    }
    return newest;
}

Outcome<size_t> StartRules::proven_by_all() const {
    const ConfigurationRecord& newest = configuration(newest_seen());
    std::vector<size_t> trusted;
    for (size_t i = 0; i < count(); ++i) {
        if (in_sync_in(newest, uuid(i)) && distrust(i).empty()) trusted.push_back(i);
    }
    std::optional<size_t> best;
    if (!trusted.empty()) {
        const Outcome<size_t> found = newest_of(trusted);
        if (!found.ok()) return found.error();
        best = found.value();
    }
    Errc code = Errc::stale;
    std::string lacking;
    for (uint32_t m = 0; m < newest.member_count; ++m) {
        const Uuid& member = newest.members[m].uuid;
        if (!in_sync_in(newest, member)) continue;
        const std::optional<size_t> i = find(member);
        const bool good = i && best && distrust(*i).empty() &&
                          (same_epoch(*i, *best) || lacks_nothing(*i, *best));
        if (good) continue;
        if (!i) code = Errc::not_found;
        const std::string why = i ? distrust(*i) : "";
        lacking += (lacking.empty() ? "" : "; ") +
                   (i ? path(*i) + ": " + (why.empty() ? "stale" : why) : whereabouts(member));
    }
    if (!lacking.empty()) {
        return Problem{code,
                       "the witness is " + start_.witness_problem +
                           ", so all members that were in sync last must be there: " + lacking};
    }
    for (size_t i = 0; i < count(); ++i) {
        if (!same_epoch(i, *best) && has_own_writes(i, *best)) return split_brain(i, *best);
    }
    return *best;
}

// For a start that is forced. A member that is half copied holds no state the volume ever had.
std::optional<size_t> StartRules::newest_present() const {
    std::optional<size_t> best;
    const auto rank = [this](size_t i) {
        return std::tuple(distrust(i).empty(), age(configuration(i)), histories_[i].end);
    };
    for (size_t i = 0; i < count(); ++i) {
        if (is_half_copied(i)) continue;
        if (!best || rank(i) > rank(*best)) best = i;
    }
    return best;
}

// --- What to say

std::string StartRules::name_of(const Uuid& member) const {
    if (const std::optional<size_t> i = find(member)) return path(*i);
    const AbsentMember* missing = absent(member);
    return missing != nullptr ? missing->path : "member " + member.text();
}

std::string StartRules::whereabouts(const Uuid& member) const {
    const AbsentMember* missing = absent(member);
    if (missing != nullptr) return missing->why + " (member " + member.text() + ")";
    return "member " + member.text() + ": is not in the volume file";
}

// What a start from member `newest` may give up.
std::string StartRules::loss(size_t newest) const {
    const ConfigurationRecord& last =
        start_.witness ? *start_.witness : configuration(newest_seen());
    std::string others;
    for (uint32_t m = 0; m < last.member_count; ++m) {
        const Uuid& member = last.members[m].uuid;
        const std::optional<size_t> i = find(member);
        if (i == newest || (i && same_epoch(*i, newest))) continue;
        if (!in_sync_in(last, member) && !(i && has_own_writes(*i, newest))) continue;
        others += (others.empty() ? "" : ", ") + name_of(member);
    }
    const std::string after = "the writes after " + std::to_string(histories_[newest].end);
    return others.empty() ? after + ", if there were any"
                          : after + " that only " + others + " may have";
}

Problem StartRules::refused(Problem problem) const {
    std::string text = start_.volume + ": cannot be started: " + problem.text;
    const std::optional<size_t> newest = newest_present();
    if (newest) {
        text += ". `gemel serve --force` would start from " + path(*newest) + " and lose " +
                loss(*newest);
    }
    return {problem.code, text};
}

// --- The decision

bool StartRules::in_chain(size_t i) const {
    if (i == decision_.newest) return true;
    if (!distrust(i).empty() || !same_epoch(i, decision_.newest)) return false;
    if (!in_sync_in(decision_.configuration, uuid(i))) return false;
    if (decision_.forced || !start_.witness) return true;
    return distrust_by_witness(i, *start_.witness).empty();
}

// Whether it was up to date once matters: what only it has is not overwritten by itself.
void StartRules::judge_out_of_sync(size_t i, MemberVerdict& verdict) const {
    const Lineage lineage = compare_histories(histories_[i], histories_[decision_.newest]);
    const std::string common = std::to_string(lineage.sequence);
    bool counted = false;
    for (size_t j = 0; j < count(); ++j) {
        counted = counted || (in_chain(j) && in_sync_in(configuration(i), uuid(j)));
    }
    if (lineage.first_went_on && (lineage.first_has_own_epochs || !counted)) {
        verdict.state = MemberState::diverged;
        verdict.why = "holds writes after " + common + " of a history of its own (split brain)";
        return;
    }
    verdict.state = MemberState::behind;
    verdict.why = is_half_copied(i) ? "its resync was interrupted"
                                    : "stale: it stopped at epoch " +
                                          std::to_string(configuration(i).epoch.number) +
                                          ", write " + std::to_string(histories_[i].end) +
                                          ", and the volume went on without it";
}

MemberVerdict StartRules::verdict(const blockdev::ConfiguredMember& listed) const {
    MemberVerdict verdict;
    verdict.uuid = listed.uuid;
    verdict.evidence = find(listed.uuid);
    verdict.configured = static_cast<ConfiguredState>(listed.state.get());
    const bool was_in_sync = verdict.configured == ConfiguredState::in_sync;
    if (was_in_sync) {
        const auto witnessed = start_.witness ? state_in(*start_.witness, listed.uuid)
                                              : std::optional<ConfiguredState>{};
        const bool was_adding = witnessed == ConfiguredState::adding;
        verdict.configured = was_adding ? ConfiguredState::adding : ConfiguredState::behind;
    }
    if (verdict.configured == ConfiguredState::offline) {
        verdict.state = MemberState::offline;
        verdict.why = "taken out by the operator";
        return verdict;
    }
    if (!verdict.evidence) {
        verdict.state = MemberState::missing;
        verdict.why = whereabouts(listed.uuid);
        return verdict;
    }
    const size_t i = *verdict.evidence;
    const Superblock& newest = superblock(decision_.newest);
    if (std::memcmp(&superblock(i).geometry, &newest.geometry, sizeof newest.geometry) != 0 ||
        superblock(i).secret != newest.secret) {
        verdict.evidence.reset();
        verdict.state = MemberState::missing;
        verdict.why = path(i) + ": its geometry differs from that of " + path(decision_.newest);
        return verdict;
    }
    if (in_chain(i)) return verdict;
    const bool witnessed =
        decision_.forced || !start_.witness || in_sync_in(*start_.witness, listed.uuid);
    if (was_in_sync && witnessed && lacks_nothing(i, decision_.newest)) {
        verdict.lacks_nothing = true;
        return verdict;
    }
    switch (verdict.configured) {
        case ConfiguredState::spare: verdict.state = MemberState::spare; break;
        case ConfiguredState::adding: verdict.state = MemberState::adding; break;
        default: judge_out_of_sync(i, verdict);
    }
    return verdict;
}

void StartRules::list_members() {
    const ConfigurationRecord& listed = decision_.configuration;
    for (uint32_t m = 0; m < listed.member_count; ++m) {
        decision_.members.push_back(verdict(listed.members[m]));
        const MemberVerdict& verdict = decision_.members.back();
        const bool expected = verdict.state == MemberState::in_sync ||
                              verdict.state == MemberState::offline ||
                              verdict.state == MemberState::spare;
        if (expected) continue;
        decision_.warnings.push_back(name_of(verdict.uuid) + ": " + name(verdict.state) + ": " +
                                     verdict.why);
    }
    for (size_t i = 0; i < count(); ++i) {
        if (state_in(listed, uuid(i))) continue;
        decision_.warnings.push_back(path(i) + ": is not a member of the volume; it is left alone");
    }
}

Outcome<StartDecision> StartRules::decide() {
    if (std::optional<Problem> problem = check_identity()) return *problem;
    if (count() == 0) {
        std::string all;
        for (const AbsentMember& missing : start_.absent) {
            all += (all.empty() ? "" : "; ") + missing.why;
        }
        return Problem{Errc::not_found,
                       start_.volume + ": cannot be started: no member is there: " + all};
    }
    const Outcome<size_t> proven =
        start_.witness ? proven_by_witness(*start_.witness) : proven_by_all();
    const std::optional<size_t> newest = proven.ok()    ? proven.value()
                                         : start_.force ? newest_present()
                                                        : std::nullopt;
    if (!newest) return refused(proven.error());
    decision_.newest = *newest;
    decision_.epoch_id = configuration(*newest).epoch.id;
    decision_.forced = !proven.ok();
    decision_.witness_is_lost = !start_.witness;
    decision_.configuration = configuration(*newest);
    if (proven.ok() && !start_.witness) decision_.configuration = configuration(newest_seen());
    if (decision_.forced) {
        decision_.warnings.push_back("forced to start from " + path(*newest) + ", giving up " +
                                     loss(*newest) + ": " + proven.error().text);
        const bool listed = start_.witness && state_in(*start_.witness, uuid(*newest));
        if (listed && age(*start_.witness) > age(decision_.configuration)) {
            decision_.configuration = *start_.witness;
        }
    }
    uint64_t highest = start_.witness ? start_.witness->epoch.number.get() : 0;
    for (size_t i = 0; i < count(); ++i) {
        highest = std::max(highest, configuration(i).epoch.number.get());
    }
    decision_.next_epoch_number = highest + 1;
    list_members();
    return std::move(decision_);
}

}  // namespace

bool needs_log_ends(const StartCase& start) {
    if (!start.absent.empty()) return true;
    for (const MemberEvidence& member : start.present) {
        const ConfigurationRecord& own = member.superblock->configuration;
        const ConfigurationRecord& first = start.present.front().superblock->configuration;
        if (own.epoch.id != first.epoch.id) return true;
        if (!in_sync_in(own, member.superblock->member)) return true;
    }
    return false;
}

Outcome<StartDecision> decide_start(const StartCase& start) { return StartRules(start).decide(); }

}  // namespace gemel::mirror
