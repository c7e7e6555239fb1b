// SPDX-License-Identifier: Apache-2.0
//
// HealthKeeper: writes down on every member what happened to it, some time after it happened and at
// the end, so that counters, the scrub's place and the unrecoverable blocks outlive the process.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/member_set.h"
#include "mirror/scrub_report.h"

namespace gemel::mirror {

// How far the scrub has come; the same on all members, the newest counts.
struct ScrubPlace {
    uint64_t next_page = 0;
    uint64_t started_s = 0;   // Of the pass that is under way or was the last; 0: none yet.
    uint64_t finished_s = 0;  // When a pass last came to its end.
    uint64_t passes = 0;
    bool under_way() const { return started_s != 0 && finished_s < started_s; }
};

class HealthKeeper {
public:
    HealthKeeper(Env& env, MemberSet& members);

    // A member has come in: takes over what it remembers of itself.
    void take_over(size_t member);

    // Another member gets this place.
    void forget(size_t member);

    // What the members remember. Lists of unrecoverable blocks are put together.
    const DamageCounts& damage(size_t member) const { return damage_[member]; }
    const std::string& last_event(size_t member) const { return events_[member].text; }
    uint64_t last_event_s(size_t member) const { return events_[member].time_s; }
    BlockSet& lost() { return lost_; }
    const BlockSet& lost() const { return lost_; }
    ScrubPlace& scrub() { return scrub_; }
    const ScrubPlace& scrub() const { return scrub_; }

    // Something happened to a member: logs it as one structured line, and has it saved soon.
    void note(size_t member, const std::string& event);
    // The same for the table of a page, if anything was repaired since the member's counter stood
    // at `repaired_before`, or could not be.
    void note_table(size_t member, uint64_t page, bool whole, uint64_t repaired_before);
    void count(size_t member, DamageCause cause) { ++damage_[member][static_cast<size_t>(cause)]; }
    // A block of a member was found to be damaged, whether or not it can be healed.
    void found(size_t member, DamageCause cause, uint64_t block);
    // It turned out to have another cause than was thought when it was found and counted.
    void recount(size_t member, DamageCause thought, DamageCause cause, uint64_t block);
    // What was found since forget_found(): how many blocks, and which; not more than
    // kFoundBlocksMax are told one from the other. In this process only.
    const DamageCounts& found_counts() const { return found_counts_; }
    std::vector<DamagedRange> found_ranges() const;
    void forget_found();
    static constexpr uint64_t kFoundBlocksMax = 1 << 16;
    // Something else that is saved has changed.
    void touch();

    // The background work, until stop().
    Task<void> run();
    void stop();
    // Saves now. Errors are the members' own business: nothing depends on it.
    Task<void> save();

private:
    struct LastEvent {
        std::string text;
        uint64_t time_s = 0;
    };

    Env& env_;
    MemberSet& members_;
    std::array<DamageCounts, blockdev::kMaximumMembers> damage_{};
    std::array<LastEvent, blockdev::kMaximumMembers> events_;
    std::array<std::array<BlockSet, kDamageCauses>, blockdev::kMaximumMembers> found_;
    DamageCounts found_counts_{};
    BlockSet lost_;
    ScrubPlace scrub_;
    bool changed_ = false;
    bool stopping_ = false;
    Event wake_;
};

}  // namespace gemel::mirror
