// SPDX-License-Identifier: Apache-2.0
//
// A small volume in a state in which damage may find it, to come back to after each damage.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "blockdev/damage.h"
#include "tests/sim/crash_plan.h"
#include "tests/sim/random.h"
#include "tests/unit/mirror/volume_world.h"

namespace gemel::sim {

// A part of one checksum page; or one, and a part of a second one.
inline constexpr uint64_t kOnePage = 512ull << 10;
inline constexpr uint64_t kTwoPages = (2ull << 20) + (128ull << 10);

// How the process that served the volume ended.
enum class Ending : uint8_t {
    closed,
    killed_with_a_full_log,
    killed_in_a_checkpoint,
    power_lost_in_a_checkpoint,
};

// Where in the first member's checkpoint the end came: at the n-th write to this part.
struct CheckpointCut {
    Region region = Region::index;
    MomentKind moment = MomentKind::completing;
    uint64_t nth = 1;
};

struct SweepSetting {
    Ending ending = Ending::closed;
    size_t members = 2;
    uint64_t size = kOnePage;
    CheckpointCut cut = {};
};

class SweepState {
public:
    explicit SweepState(SweepSetting setting);

    mirror::VolumeWorld& world() { return world_; }
    const SweepSetting& setting() const { return setting_; }
    size_t members() const { return setting_.members; }
    uint64_t size() const { return setting_.size; }
    const blockdev::Layout& layout() const { return layout_; }
    // What a client may read.
    const std::vector<std::byte>& content() const { return content_; }
    // The blocks of a member's log, from its tail on, as far as they make up a chain: in the state
    // to come back to, and on the member as it is.
    const std::vector<uint64_t>& log_blocks(size_t member) const { return log_blocks_[member]; }
    std::vector<uint64_t> find_log_blocks(size_t member);
    // Whether nobody may heal the block at `offset` without a word: what says that it is in use
    // also says what it must be. Data is not among them: the log may have something newer.
    bool counts(size_t member, uint64_t offset) const;
    // What the members held after earlier checkpoints, oldest first.
    size_t moments() const { return past_.size(); }
    void read_past(size_t moment, size_t member, uint64_t offset, std::span<std::byte> out) const;

    Platter& platter(size_t member) { return world_.drive(member).platter(); }
    // Everything is again as the end of that process has left it. Nothing may be open.
    void restore();

    // For a volume that serves: random writes, trims and zeroes; content() follows.
    void write_some(int writes, uint64_t length_max);

private:
    void make_history();
    void end();
    void fill_log();
    void end_in_checkpoint();
    void remember();
    void write_one(uint64_t length_max);
    void clear(uint64_t first_block, uint64_t blocks);
    std::vector<uint64_t> find_blocks(size_t member, blockdev::Structure structure);
    void note_stable_log();

    SweepSetting setting_;
    Random random_{11};
    mirror::VolumeWorld world_;
    std::vector<std::byte> content_;
    blockdev::Layout layout_;
    std::vector<Platter::Image> now_;
    std::vector<std::vector<Platter::Image>> past_;
    std::map<std::string, std::vector<std::byte>> files_;
    std::vector<std::vector<uint64_t>> log_blocks_;
    std::vector<std::set<uint64_t>> stable_log_;
    std::vector<std::set<uint64_t>> counting_;
};

}  // namespace gemel::sim
