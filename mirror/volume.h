// SPDX-License-Identifier: Apache-2.0
//
// Volume: one virtual disk made of several members; the BlockDevice that clients see.
//
// A member that fails is taken out of the configuration, and the others go on; it is brought back
// when it can be. When the last one fails the volume stops: every later request gets an I/O error,
// nothing is acknowledged any more, and status says which member and why.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockdev/block_device.h"
#include "blockdev/env.h"
#include "blockdev/member.h"
#include "mirror/configurator.h"
#include "mirror/flusher.h"
#include "mirror/healer.h"
#include "mirror/health_keeper.h"
#include "mirror/new_member.h"
#include "mirror/pacer.h"
#include "mirror/range_lock.h"
#include "mirror/reader.h"
#include "mirror/rejoiner.h"
#include "mirror/report.h"
#include "mirror/resync.h"
#include "mirror/scrub.h"
#include "mirror/sequencer.h"
#include "mirror/slow_watch.h"
#include "mirror/space_guard.h"
#include "mirror/spares.h"
#include "mirror/volume_parts.h"
#include "mirror/watchdog.h"

namespace gemel::mirror {

class Volume final : public BlockDevice {
public:
    Volume(Env& env, VolumeParts parts);
    ~Volume() override;

    const Geometry& geometry() const override { return geometry_; }
    Task<Status> read(uint64_t offset, std::span<std::byte> data) override;
    Task<Status> write(uint64_t offset, std::span<const std::byte> data,
                       WriteOptions options) override;
    Task<Status> flush() override;
    Task<Status> trim(uint64_t offset, uint64_t length, WriteOptions options) override;
    Task<Status> write_zeroes(uint64_t offset, uint64_t length, ZeroOptions options) override;
    Task<Result<std::vector<Extent>>> extents(uint64_t offset, uint64_t length,
                                              size_t limit) override;

    VolumeReport report() const;

    // Begins a scrub, or speeds up the one that the schedule began. See report().
    void scrub() { scrub_.start(); }

    // --- Members, for operators. `path_or_uuid`: as given at creation.
    std::optional<size_t> find_member(std::string_view path_or_uuid) const;
    // Takes a member out until it is brought back: what is written meanwhile it lacks. Refused for
    // the last one in sync. Nothing: it is done, and durable.
    Task<std::optional<Problem>> take_offline(size_t index);
    // Looks for the member at once; it is brought up to date in the background.
    Task<std::optional<Problem>> bring_online(size_t index);

    // Makes a file or device a member that is brought up to date in the background; a spare only
    // once it is needed. Its index, once the configuration lists it.
    Task<Outcome<size_t>> add_member(NewMemberOrder order);
    // A member no more. Refused if the volume would be worse off, for the last good copy by
    // `force` as well. Nothing: it is done, and durable.
    Task<std::optional<Problem>> remove_member(size_t index, bool force);
    // Adds one that takes the place of the other once it is in sync. At the same path the other one
    // must be away already, and is gone at once.
    Task<Outcome<size_t>> replace_member(size_t index, NewMemberOrder order, bool force);
    // What the volume file is to say.
    VolumeDescription description() const;
    // Ends what takes long on behalf of operators: the volume is going to be closed.
    void close_down() { closing_down_ = true; }

    // Ends the service: brings the logs home if that can be done before the deadline (else the next
    // open settles them), and releases the members. Requests must have ended, or will fail.
    Task<Status> close(uint64_t deadline_ns);

    // Waits until everything acknowledged is home: for tests, and before measuring.
    Task<Status> drain(uint64_t deadline_ns);

private:
    struct Counters {
        uint64_t reads = 0, writes = 0, flushes = 0, trims = 0;
        uint64_t bytes_read = 0, bytes_written = 0;
    };

    Status check_range(uint64_t offset, uint64_t length) const;
    Status check_writable(uint64_t offset, uint64_t length) const;
    Task<Status> repair_suspect(size_t index);
    Task<Status> read_unaligned(uint64_t offset, std::span<std::byte> data);
    Task<Result<blockdev::BlockRun>> run_at(uint64_t block, uint64_t blocks);
    Task<Status> commit(std::span<Sequencer::Write> writes, bool fua);
    Task<Status> write_pieces(uint64_t offset, std::span<const std::byte> data, bool fua);
    Task<Status> write_simple(uint64_t offset, std::span<const std::byte> data, bool fua);
    Task<Status> clear_blocks(uint64_t first_block, uint64_t end_block, blockdev::EntryKind kind,
                              bool fua);
    std::optional<Problem> refuse_change() const;
    std::optional<Problem> refuse_removal(size_t index, bool force) const;
    Problem no_room_for_another() const;
    std::string worth_of(size_t index) const;
    std::optional<size_t> vacancy() const;
    blockdev::ConfigurationRecord configuration_with(const Uuid& member, bool spare) const;
    Task<Outcome<Uuid>> make_new(NewMemberOrder order);
    size_t settle_in(size_t index, const Uuid& uuid, const NewMemberOrder& order);
    Task<Outcome<size_t>> take_in_new(Uuid uuid, NewMemberOrder order,
                                      std::optional<size_t> replaces);
    Task<Outcome<size_t>> replace_in_place(size_t index, NewMemberOrder order, bool force);
    Task<bool> is_let_go(size_t index);
    void give_place_to_stand_in();
    void keep_description();
    void member_failed(const MemberFailure& failure);
    void member_lags(size_t index, const std::string& why);
    bool keep_one_that_lags();
    Task<void> reconfigure();
    Task<bool> reconfigured();
    Task<Status> release_members();
    Task<void> end_patience(uint64_t deadline_ns);
    void stop(const std::string& because);
    void stop_workers();
    bool is_quiet() const;
    MemberReport member_report(size_t index) const;

    Env& env_;
    std::string name_;
    std::unique_ptr<blockdev::BufferPool> pool_;
    MemberSet members_;
    // Per member: the page whose table was repaired for a checkpoint, and which checkpoint that
    // was.
    std::array<std::pair<uint64_t, uint64_t>, blockdev::kMaximumMembers> last_repairs_;
    Uuid uuid_;
    std::string witness_path_;
    DescriptionKeeper keep_;
    ecc::BlockHasher hasher_;
    Geometry geometry_;
    uint64_t log_limit_;
    RangeLock locks_;
    Sequencer sequencer_;
    Flusher flusher_;
    Pacer pacer_;
    SpaceGuard space_;
    Configurator configurator_;
    Watchdog watchdog_;
    SlowWatch slow_watch_;
    HealthKeeper health_;
    Healer healer_;
    Reader reader_;
    BackgroundPace pace_;
    Scrub scrub_;
    Resync resync_;
    Rejoiner rejoiner_;
    SpareKeeper spares_;
    Scope scope_;
    Scope watch_scope_;  // What must outlive the work in scope_, to see that it ends.
    Event closing_;
    bool patience_ended_ = false;
    Counters counters_;
    bool stopped_ = false;
    std::string stopped_because_;
    bool closed_ = false;
    bool closing_down_ = false;
    bool changing_members_ = false;
};

}  // namespace gemel::mirror
