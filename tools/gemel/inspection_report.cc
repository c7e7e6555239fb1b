// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/inspection_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "blockdev/superblock.h"
#include "tools/config/units.h"
#include "tools/gemel/health_text.h"
#include "tools/gemel/member_words.h"
#include "tools/gemel/plain_text.h"
#include "tools/gemel/text_table.h"

namespace gemel::tools {

namespace {

using blockdev::ConfigurationRecord;
using blockdev::kBlockSize;
using blockdev::Layout;
using blockdev::MemberInspection;
using blockdev::Superblock;

std::string line(const char* label, const std::string& text) {
    return fmt::format("{:<13}{}\n", label, text);
}

std::string in_shell_quotes(const std::string& path) {
    std::string out = "'";
    for (const char c : path) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

std::string owner_text(const MemberInspection& member) {
    if (member.owner_pid == 0) return "nobody; it was closed in order";
    if (member.owner_is_alive) return fmt::format("in use by process {}", member.owner_pid);
    return fmt::format("process {}, which died without closing it; the next start settles it",
                       member.owner_pid);
}

std::string identity_text(const MemberInspection& member) {
    const Superblock& superblock = *member.superblock;
    const Layout& layout = member.layout;
    std::string out;
    out += line("member", fmt::format("{} ({}, {})", plain_text(member.path),
                                      member.is_block_device ? "block device" : "file",
                                      readable_size(member.size)));
    out += line("  uuid", superblock.member.text());
    out += line("volume",
                fmt::format("{}, {}, may grow to {}", plain_text(blockdev::volume_name(superblock)),
                            readable_size(layout.volume_size), readable_size(layout.maximum_size)));
    out += line("  uuid", superblock.volume.text());
    out += line("  created", utc_text(superblock.created_s));
    out += line("format", fmt::format("version {}, for readers from {} on",
                                      superblock.version.get(), superblock.minimum_reader.get()));
    const auto copy = [](const char* fault) {
        return fault == nullptr ? std::string("good") : fmt::format("damaged: {}", fault);
    };
    out += line("superblocks",
                fmt::format("A {}; B {}; generation {}", copy(member.superblock_a_fault),
                            copy(member.superblock_b_fault), superblock.generation.get()));
    return out + line("owner", owner_text(member));
}

std::string layout_text(const Layout& layout) {
    std::vector<std::vector<std::string>> rows{{"STRUCTURE", "OFFSET", "BYTES", ""}};
    for (const Extents& extent : extents_of(layout)) {
        rows.push_back({extent.structure, fmt::format("{}", extent.offset),
                        fmt::format("{}", extent.length), readable_size(extent.length)});
    }
    return text_table(rows, {false, true, true, true}, 2);
}

std::string configuration_text(const Superblock& superblock) {
    const ConfigurationRecord& configuration = superblock.configuration;
    std::string out = line("configuration", fmt::format(" epoch {}, version {}, sync",
                                                        configuration.epoch.number.get(),
                                                        configuration.version.get()));
    for (uint32_t i = 0; i < configuration.member_count; ++i) {
        const blockdev::ConfiguredMember& member = configuration.members[i];
        out +=
            line(("  " + configured_name(member.state)).c_str(),
                 member.uuid.text() + (member.uuid == superblock.member ? "  (this member)" : ""));
    }
    if (const auto resync = resync_of(superblock)) {
        out += line("resync", "not complete: " + resync_text(*resync));
        if (resync->base_sequence != 0) {
            out += line("  base", "in epoch " + resync->base_epoch.text());
        }
    }
    std::vector<std::vector<std::string>> rows{{"EPOCH", "FROM SEQUENCE", "ID"}};
    for (uint32_t i = 0; i < superblock.epoch_count; ++i) {
        const blockdev::EpochRecord& epoch = superblock.epochs[i];
        rows.push_back({fmt::format("{}", epoch.number.get()),
                        fmt::format("{}", epoch.first_sequence.get()), epoch.id.text()});
    }
    return out + "\n" + text_table(rows, {true, true, false}, 2);
}

std::string content_text(const MemberInspection& member) {
    const Superblock& superblock = *member.superblock;
    std::string out;
    out += line("tail",
                fmt::format("sequence {} at byte {} of the log: everything before is home",
                            superblock.tail.sequence.get(), superblock.tail.ring_offset.get()));
    out += line("log", member.log_batches == 0
                           ? std::string("empty")
                           : fmt::format("{} writes in {} batches, {}, up to sequence {}, stable "
                                         "up to {}",
                                         member.log_writes, member.log_batches,
                                         readable_size(member.log_bytes), member.log_last_sequence,
                                         member.log_stable_point));
    const uint64_t present =
        std::count_if(superblock.roots, superblock.roots + superblock.root_count,
                      [](const blockdev::IndexEntry& entry) { return entry.word.get() != 0; });
    out +=
        line("root", fmt::format("{} of {} entries in use", present, superblock.root_count.get()));
    out += line("pages", fmt::format("{} with data, {} all zero, {} never written, {} damaged "
                                     "(each stands for 2 MiB)",
                                     member.pages_data, member.pages_zero,
                                     member.pages_never_written, member.pages_unreadable));
    return out;
}

std::string health_text(const blockdev::MemberHealth& health) {
    std::string out;
    out += line("health",
                fmt::format("{} blocks verified, {} mismatches, {} read errors, {} write errors",
                            health.blocks_verified, health.mismatches, health.read_errors,
                            health.write_errors));
    out += line("  healed", healed_text(health.healed_by_cause, health.tables_repaired,
                                        health.log_blocks_healed));
    out += line("  last", event_text(health.last_event, health.last_event_s));
    const bool scrubbing = health.scrub_started_s > health.scrub_finished_s;
    out += line(
        "scrub",
        passes_text(health.scrub_passes, health.scrub_finished_s) +
            (scrubbing ? fmt::format("; under way, {} pages done", health.scrub_next_page) : ""));
    const std::vector<mirror::BlockRange> ranges = lost_ranges(health);
    if (ranges.empty()) return out;
    uint64_t blocks = 0;
    for (const mirror::BlockRange& range : ranges) blocks += range.count;
    return out + line("lost", lost_text(blocks, ranges));
}

std::string home_text(const MemberInspection& member) {
    if (!member.home_is_complete && resync_of(*member.superblock)) {
        return line("home",
                    "not complete: blocks of before and after its absence lie side by side");
    }
    if (!member.home_is_complete) {
        return line("home", member.owner_is_alive
                                ? "in use: do not mount it; ask again after a clean stop"
                                : "not complete: writes are waiting in the log; serve the volume "
                                  "and stop it cleanly first");
    }
    const bool has_losses = !member.health.unrecoverable.empty();
    return line("home", has_losses
                            ? "complete but for the lost blocks, which hold anything: it may "
                              "be used read-only without Gemel:"
                            : "complete: it may be used read-only without Gemel:") +
           fmt::format(
               "  {}\n  mount -o ro DEVICE FOLDER    (ext4: ro,noload; xfs: "
               "ro,norecovery)\n",
               loop_command(member));
}

}  // namespace

std::vector<Extents> extents_of(const Layout& layout) {
    using blockdev::kLogOffset;
    using blockdev::kOwnerOffset;
    using blockdev::kSuperblockSize;
    const uint64_t page_pair = 2 * kBlockSize;
    return {{"superblock_a", 0, kSuperblockSize},
            {"owner", kOwnerOffset, kBlockSize},
            {"log", kLogOffset, layout.log_size},
            {"roots", layout.root_offset, layout.root_pages() * page_pair},
            {"index", layout.index_offset, layout.index_pages() * page_pair},
            {"checksums", layout.checksum_offset, layout.maximum_pages() * page_pair},
            {"superblock_b", layout.superblock_b_offset, kSuperblockSize},
            {"home", layout.home_offset, layout.volume_size}};
}

std::vector<mirror::BlockRange> lost_ranges(const blockdev::MemberHealth& health) {
    std::vector<mirror::BlockRange> ranges;
    for (const blockdev::MemberHealth::Range& range : health.unrecoverable) {
        ranges.push_back({range.first_block, range.block_count});
    }
    return ranges;
}

std::string loop_command(const MemberInspection& member) {
    return fmt::format("losetup --read-only --find --show --offset {} --sizelimit {} {}",
                       member.layout.home_offset, member.layout.volume_size,
                       in_shell_quotes(member.path));
}

std::string inspection_text(const MemberInspection& member) {
    return identity_text(member) + "\n" + layout_text(member.layout) + "\n" +
           configuration_text(*member.superblock) + "\n" + content_text(member) +
           health_text(member.health) + home_text(member);
}

}  // namespace gemel::tools
