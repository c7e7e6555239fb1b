// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/health_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "mirror/damage.h"
#include "tools/gemel/plain_text.h"

namespace gemel::tools {

namespace {

constexpr size_t kListedRangesMax = 8;

void add(std::string& list, const std::string& item) { list += (list.empty() ? "" : ", ") + item; }

}  // namespace

std::string utc_text(uint64_t seconds_since_1970) {
    const auto time = static_cast<std::time_t>(seconds_since_1970);
    std::tm parts{};
    char text[64];
    if (gmtime_r(&time, &parts) == nullptr ||
        std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
        return fmt::format("{} seconds after 1970", seconds_since_1970);
    }
    return text;
}

std::string healed_text(std::span<const uint64_t> by_cause, uint64_t tables, uint64_t in_log) {
    std::string list;
    const size_t causes = std::min(by_cause.size(), mirror::kDamageCauses);
    for (size_t i = 0; i < causes; ++i) {
        if (by_cause[i] == 0) continue;
        add(list, fmt::format("{} {}", mirror::kDamageCauseNames[i], by_cause[i]));
    }
    if (tables != 0) add(list, fmt::format("{} {}", tables, tables == 1 ? "table" : "tables"));
    if (in_log != 0) add(list, fmt::format("{} in the log", in_log));
    return list.empty() ? "nothing" : list;
}

std::string event_text(const std::string& event, uint64_t seconds_since_1970) {
    if (event.empty()) return "-";
    constexpr std::string_view kPrefix = "event=";
    const size_t begin = event.starts_with(kPrefix) ? kPrefix.size() : 0;
    return utc_text(seconds_since_1970) + ", " + plain_text(event.substr(begin));
}

std::string lost_text(uint64_t blocks, const std::vector<mirror::BlockRange>& ranges) {
    std::string list;
    const size_t listed = std::min(ranges.size(), kListedRangesMax);
    for (size_t i = 0; i < listed; ++i) {
        list += fmt::format(" {}+{}", ranges[i].first, ranges[i].count);
    }
    return fmt::format(
        "{} {} of which no member has a good copy:{}{}; they give I/O errors until "
        "they are overwritten",
        blocks, blocks == 1 ? "block" : "blocks", list, listed < ranges.size() ? " ..." : "");
}

std::string passes_text(uint64_t passes, uint64_t finished_s) {
    if (passes == 0) return "none yet";
    return fmt::format("{} complete, the last ended {}", passes, utc_text(finished_s));
}

}  // namespace gemel::tools
