// SPDX-License-Identifier: Apache-2.0
//
// Superblocks after made-up histories: for the rules of starting.
#pragma once

#include <gtest/gtest.h>

#include "mirror/start_rules.h"
#include "tests/unit/blockdev/store_world.h"

namespace gemel::mirror {

// Epochs that began at the given writes, and the last write. Epoch ids of another `fork` differ
// from the epoch `fork_from` on.
struct Past {
    std::vector<uint64_t> epoch_starts{1};
    uint64_t end = 0;
    uint8_t fork = 0;
    size_t fork_from = 0;
};

inline blockdev::EpochRecord epoch_of(const Past& past, size_t index) {
    blockdev::EpochRecord epoch;
    epoch.number = index + 1;
    const int fork = index >= past.fork_from ? past.fork : 0;
    epoch.id = blockdev::fixed_uuid(static_cast<uint8_t>(0x80 + index * 16 + fork));
    epoch.first_sequence = past.epoch_starts[index];
    // What the batch before hashes to: only its number counts here.
    epoch.previous_hash = 7000 + past.epoch_starts[index];
    return epoch;
}

class StartWorld {
public:
    explicit StartWorld(size_t configured = 2) : configured_(configured) {}

    // Everything up to `end` is home, unless log_end says otherwise.
    blockdev::Superblock& member(size_t index, const Past& past) {
        auto superblock = blockdev::make_superblock_buffer();
        superblock->member = uuid(index);
        superblock->volume = blockdev::fixed_uuid(0xa0);
        superblock->geometry = blockdev::to_record(blockdev::small_layout());
        superblock->secret = blockdev::fixed_secret();
        superblock->configuration = configuration(past);
        superblock->epoch_count = static_cast<uint32_t>(past.epoch_starts.size());
        for (size_t i = 0; i < past.epoch_starts.size(); ++i) {
            superblock->epochs[i] = epoch_of(past, i);
        }
        superblock->tail.sequence = past.end + 1;
        const blockdev::EpochRecord& last = superblock->configuration.epoch;
        superblock->tail.previous_hash = past.end + 1 == last.first_sequence
                                             ? blockdev::chain_start(last.id, last.previous_hash)
                                             : 7000 + past.end + 1;
        superblocks_.push_back(std::move(superblock));
        evidence_.push_back({path(index), superblocks_.back().get(), past.end});
        return *superblocks_.back();
    }
    void absent(size_t index) {
        absent_.push_back({path(index), uuid(index), path(index) + ": not found"});
    }
    // In sync are those with true; all if empty.
    blockdev::ConfigurationRecord configuration(const Past& past,
                                                const std::vector<bool>& in_sync = {}) const {
        blockdev::ConfigurationRecord record = blockdev::fixed_configuration(configured_);
        record.epoch = epoch_of(past, past.epoch_starts.size() - 1);
        for (size_t i = 0; i < in_sync.size(); ++i) {
            record.members[i].state = in_sync[i] ? 0 : 1;
        }
        return record;
    }
    static Uuid uuid(size_t index) {
        return blockdev::fixed_uuid(static_cast<uint8_t>(0x10 * (index + 1)));
    }
    static std::string path(size_t index) { return "/m" + std::to_string(index); }

    Outcome<StartDecision> decide(bool force = false) const {
        StartCase start;
        start.volume = "vol";
        start.present = evidence_;
        start.absent = absent_;
        start.witness = witness;
        start.witness_problem = "lost";
        start.force = force;
        return decide_start(start);
    }
    // The states of all members, one character each: i, b, d, m, a, o, s; l: lacks nothing; or the
    // words of the refusal.
    std::string outcome(bool force = false) const {
        const auto decision = decide(force);
        if (!decision.ok()) return "refused";
        std::string states;
        for (const MemberVerdict& verdict : decision.value().members) {
            states += verdict.lacks_nothing ? 'l' : name(verdict.state)[0];
        }
        return states;
    }
    void expect_refused(Errc code, const std::string& text) const {
        const auto decision = decide();
        ASSERT_FALSE(decision.ok());
        EXPECT_EQ(decision.error().code, code) << decision.error().text;
        EXPECT_NE(decision.error().text.find(text), std::string::npos) << decision.error().text;
    }
    void clear() {
        superblocks_.clear();
        evidence_.clear();
        absent_.clear();
        witness.reset();
    }

    std::optional<blockdev::ConfigurationRecord> witness;

    size_t configured_;
    std::vector<std::unique_ptr<blockdev::Superblock>> superblocks_;
    std::vector<MemberEvidence> evidence_;
    std::vector<AbsentMember> absent_;
};

}  // namespace gemel::mirror
