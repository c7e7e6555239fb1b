// SPDX-License-Identifier: Apache-2.0
//
// A status in which every field differs from its default.
#pragma once

#include "tools/gemel/volume_status.h"

namespace gemel::tools {

inline mirror::MemberReport example_member() {
    mirror::MemberReport member;
    member.uuid.bytes[0] = 2;
    member.path = "/srv/a.img";
    member.state = "failed";
    member.why = "no progress: timed out";
    member.configured = "behind";
    member.is_spare = true;
    member.replaces = "/srv/z.img";
    member.resync.emplace();
    member.resync->state = 1;
    member.resync->base_epoch.bytes[0] = 4;
    member.resync->base_sequence = 21;
    member.resync->covered_sequence = 22;
    member.resync->cursor_page = 23;
    member.resync->window_begin = 24;
    member.resync->window_end = 25;
    member.logged_sequence = 12;
    member.stable_sequence = 11;
    member.checkpoint_sequence = 10;
    member.log_bytes_used = 1 << 20;
    member.log_bytes_total = 2 << 20;
    member.blocks_read = 7;
    member.blocks_verified = 8;
    member.mismatches = 9;
    member.blocks_healed = 1;
    member.tables_repaired = 4;
    member.log_blocks_healed = 5;
    member.damage = {6, 7, 8, 9, 10};
    member.last_event = "event=healed";
    member.last_event_s = 1'700'000'000;
    member.read_errors = 2;
    member.write_errors = 3;
    member.free_bytes = 123456;
    return member;
}

inline VolumeStatus example_status() {
    VolumeStatus status;
    status.file = "/srv/vol.toml";
    status.server = ServerFacts{77, "0.1.0", 61, {"unix:/srv/vol.nbd.sock"}};
    mirror::VolumeReport& report = status.report;
    report.name = "vol";
    report.uuid.bytes[0] = 1;
    report.size = 1 << 30;
    report.state = "stopped";
    report.stopped_because = "a.img: I/O error";
    report.epoch = 3;
    report.commit_sequence = 12;
    report.stable_sequence = 11;
    report.reads = 1;
    report.writes = 2;
    report.flushes = 3;
    report.trims = 4;
    report.bytes_read = 4096;
    report.bytes_written = 8192;
    report.batches = 5;
    report.checkpoints = 6;
    report.short_of_space = true;
    report.unrecoverable_blocks = 3;
    report.unrecoverable = {{7, 3}};
    report.scrub = {true,
                    11,
                    12,
                    13,
                    14,
                    15,
                    16,
                    17,
                    18,
                    19,
                    20,
                    {21, 22, 23, 24, 25},
                    {{0, mirror::DamageCause::bit_rot, {26, 1}},
                     {0, mirror::DamageCause::bit_rot, {28, 2}},
                     {1, mirror::DamageCause::unreadable, {30, 25}}}};
    report.resync = {.running = true,
                     .pages = 41,
                     .pages_done = 42,
                     .blocks_compared = 43,
                     .blocks_copied = 44,
                     .blocks_zeroed = 45,
                     .blocks_unrecoverable = 46,
                     .elapsed_ns = 0,
                     .remaining_s = 47};
    report.resync_member = "/srv/a.img";
    report.members.push_back(example_member());
    mirror::MemberReport device;
    device.uuid.bytes[0] = 3;
    device.path = "/dev/sdx";
    device.state = "in-sync";
    device.direct = false;
    report.members.push_back(device);
    return status;
}

}  // namespace gemel::tools
