// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <numeric>

#include "tools/config/units.h"
#include "tools/gemel/health_text.h"
#include "tools/gemel/member_words.h"
#include "tools/gemel/plain_text.h"
#include "tools/gemel/text_table.h"
#include "tools/gemel/volume_status.h"

namespace gemel::tools {

namespace {

using mirror::MemberReport;
using mirror::VolumeReport;

constexpr size_t kShownRanges = 8;  // In the table; JSON has more.

std::string percentage(uint64_t part, uint64_t whole) {
    if (whole == 0) return "-";
    const double share = static_cast<double>(part) / static_cast<double>(whole);
    return fmt::format("{:.0f}% of {}", 100 * share, readable_size(whole));
}

std::string line(const char* label, const std::string& text) {
    return fmt::format("  {:<9}{}\n", label, text);
}

std::string uptime(uint64_t seconds) {
    if (seconds < 120) return fmt::format("{} s", seconds);
    if (seconds < 2 * 3600) return fmt::format("{} min", seconds / 60);
    if (seconds < 2 * 86'400) return fmt::format("{} h", seconds / 3600);
    return fmt::format("{} days", seconds / 86'400);
}

std::string headline(const VolumeStatus& status) {
    const VolumeReport& report = status.report;
    std::string out = fmt::format("{}  {}, {} of {}, {}\n", plain_text(report.name),
                                  plain_text(report.state), plain_text(report.layout),
                                  report.size == 0 ? "unknown size" : readable_size(report.size),
                                  plain_text(report.consistency));
    if (!report.stopped_because.empty()) {
        out += line("stopped", plain_text(report.stopped_because) +
                                   "; every request gets an I/O error until it is served again");
    }
    if (!status.problem.empty()) out += line("problem", plain_text(status.problem));
    if (report.short_of_space) {
        out += line("space",
                    "short: new writes fail (ENOSPC) until a member's file system has "
                    "room again");
    }
    return out;
}

std::string scrub_line(const mirror::ScrubReport& scrub) {
    if (scrub.running) {
        return line("scrub", fmt::format("{} of {} pages done, about {} to go, {} blocks healed",
                                         scrub.next_page, scrub.pages, uptime(scrub.remaining_s),
                                         scrub.blocks_healed));
    }
    return line("scrub", passes_text(scrub.passes, scrub.finished_s));
}

std::string resync_line(const VolumeReport& report) {
    if (report.resync_member.empty()) return "";
    const mirror::ResyncReport& resync = report.resync;
    return line("resync",
                fmt::format("{}: {} of {} pages done, {} blocks copied, about {} to go",
                            plain_text(report.resync_member), resync.pages_done, resync.pages,
                            resync.blocks_copied, uptime(resync.remaining_s)));
}

std::string ranges_text(const std::vector<mirror::BlockRange>& ranges, size_t listed_max) {
    std::string text;
    for (size_t i = 0; i < ranges.size() && i < listed_max; ++i) {
        text += fmt::format(" {}+{}", ranges[i].first, ranges[i].count);
    }
    return text + (ranges.size() > listed_max ? " ..." : "");
}

// One line for each cause and member: "bit_rot: 3 blocks of /srv/a.img: 7+1 20+2".
std::vector<std::string> damage_lines(const VolumeReport& report, size_t listed_max) {
    std::map<std::pair<mirror::DamageCause, size_t>, std::vector<mirror::BlockRange>> groups;
    for (const mirror::DamagedRange& range : report.scrub.damage) {
        groups[{range.cause, range.member}].push_back(range.blocks);
    }
    std::vector<std::string> lines;
    for (const auto& [key, ranges] : groups) {
        const auto& [cause, member] = key;
        uint64_t blocks = 0;
        for (const mirror::BlockRange& range : ranges) blocks += range.count;
        lines.push_back(fmt::format(
            "{}: {} blocks of {}:{}", mirror::kDamageCauseNames[static_cast<size_t>(cause)], blocks,
            plain_text(report.members[member].path), ranges_text(ranges, listed_max)));
    }
    return lines;
}

std::string unrecoverable_line(const VolumeReport& report) {
    if (report.unrecoverable_blocks == 0) return "";
    return line("lost", lost_text(report.unrecoverable_blocks, report.unrecoverable));
}

std::string server_lines(const VolumeStatus& status) {
    const VolumeReport& report = status.report;
    const ServerFacts& server = *status.server;
    std::string out;
    out += line("server", fmt::format("pid {}, up {}, version {}", server.pid,
                                      uptime(server.uptime_s), plain_text(server.version)));
    for (const std::string& address : server.addresses) out += line("nbd", plain_text(address));
    out += line("history", fmt::format("epoch {}, committed {}, stable {}", report.epoch,
                                       report.commit_sequence, report.stable_sequence));
    out += line("requests",
                fmt::format("{} reads ({}), {} writes ({}), {} flushes, {} trims", report.reads,
                            readable_size(report.bytes_read), report.writes,
                            readable_size(report.bytes_written), report.flushes, report.trims));
    out +=
        line("log", fmt::format("{} batches, {} checkpoints", report.batches, report.checkpoints));
    out += resync_line(report) + scrub_line(report.scrub);
    for (const std::string& text : damage_lines(report, kShownRanges)) out += line("found", text);
    out += unrecoverable_line(report);
    return out;
}

std::string free_space(const MemberReport& member) {
    return member.free_bytes == UINT64_MAX ? "-" : readable_size(member.free_bytes);
}

// The configuration may know of a member that the volume file does not list.
std::string path_text(const MemberReport& member) {
    return member.path.empty() ? "-" : plain_text(member.path);
}

std::string served_members(const VolumeReport& report) {
    std::vector<std::vector<std::string>> rows{{"MEMBER", "STATE", "LOG", "LOGGED", "STABLE",
                                                "HOME", "MISMATCHES", "HEALED", "ERRORS", "FREE"}};
    for (const MemberReport& member : report.members) {
        rows.push_back(
            {path_text(member), plain_text(member.state),
             percentage(member.log_bytes_used, member.log_bytes_total),
             fmt::format("{}", member.logged_sequence), fmt::format("{}", member.stable_sequence),
             fmt::format("{}", member.checkpoint_sequence), fmt::format("{}", member.mismatches),
             fmt::format("{}",
                         member.blocks_healed + member.tables_repaired + member.log_blocks_healed),
             fmt::format("{}", member.read_errors + member.write_errors), free_space(member)});
    }
    return text_table(rows, {false, false, true, true, true, true, true, true, true, true}, 2);
}

// Of the members to which something happened.
std::string member_histories(const VolumeReport& report) {
    std::vector<std::vector<std::string>> rows{{"MEMBER", "HEALED", "LAST EVENT"}};
    for (const MemberReport& member : report.members) {
        if (member.last_event.empty()) continue;
        rows.push_back(
            {path_text(member),
             healed_text(member.damage, member.tables_repaired, member.log_blocks_healed),
             event_text(member.last_event, member.last_event_s)});
    }
    if (rows.size() == 1) return "";
    return "\n" + text_table(rows, {false, false, false}, 2);
}

// Of the members that are not as they should be.
std::string member_reasons(const VolumeReport& report) {
    std::vector<std::vector<std::string>> rows{{"MEMBER", "STATE", "WHY"}};
    for (const MemberReport& member : report.members) {
        if (needs_reason(member)) {
            rows.push_back({path_text(member), plain_text(member.state), plain_text(member.why)});
        }
        if (member.resync) rows.push_back({path_text(member), "", resync_text(*member.resync)});
    }
    if (rows.size() == 1) return "";
    return "\n" + text_table(rows, {false, false, false}, 2);
}

std::string unserved_members(const VolumeReport& report) {
    std::vector<std::vector<std::string>> rows{{"MEMBER", "STATE", "CONFIGURED", "UUID"}};
    for (const MemberReport& member : report.members) {
        const std::string configured =
            member.configured.empty() ? "-" : plain_text(member.configured);
        rows.push_back(
            {path_text(member), plain_text(member.state), configured, member.uuid.text()});
    }
    return text_table(rows, {false, false, false, false}, 2);
}

}  // namespace

std::string scrub_summary(const VolumeReport& report) {
    const mirror::ScrubReport& scrub = report.scrub;
    std::string out = fmt::format(
        "scrubbed {}: {} blocks checked, {} blocks, {} tables and {} logs healed, {} blocks "
        "unrecoverable\n",
        plain_text(report.name), scrub.blocks_checked, scrub.blocks_healed, scrub.tables_repaired,
        scrub.logs_healed, report.unrecoverable_blocks);
    for (const std::string& text : damage_lines(report, SIZE_MAX)) out += "  " + text + '\n';
    if (report.unrecoverable_blocks != 0) {
        out += fmt::format("  unrecoverable: {} blocks:{}\n", report.unrecoverable_blocks,
                           ranges_text(report.unrecoverable, SIZE_MAX));
    }
    uint64_t listed = 0;
    for (const mirror::DamagedRange& range : scrub.damage) listed += range.blocks.count;
    const uint64_t found = std::accumulate(scrub.found.begin(), scrub.found.end(), uint64_t{0});
    if (found > listed) out += fmt::format("  and {} damaged blocks more\n", found - listed);
    return out;
}

std::string status_table(const VolumeStatus& status) {
    std::string out = headline(status);
    if (status.server) {
        return out + server_lines(status) + '\n' + served_members(status.report) +
               member_reasons(status.report) + member_histories(status.report);
    }
    if (status.report.epoch != 0) {
        out += line("history", fmt::format("epoch {}", status.report.epoch));
        out += scrub_line(status.report.scrub) + unrecoverable_line(status.report);
    }
    if (status.report.members.empty()) return out;
    return out + "\n" + unserved_members(status.report) + member_reasons(status.report) +
           member_histories(status.report);
}

}  // namespace gemel::tools
