// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/status_view.h"

#include "tools/gemel/health_text.h"

namespace gemel::tools {

namespace {

// What every terminal of today understands.
constexpr const char* kHome = "\x1b[H";
constexpr const char* kClearLine = "\x1b[K";
constexpr const char* kClearBelow = "\x1b[J";
constexpr const char* kWrapOff = "\x1b[?7l";
constexpr const char* kWrapOn = "\x1b[?7h";

std::string without_what_passes(VolumeStatus status) {
    if (status.server) status.server->uptime_s = 0;
    for (mirror::MemberReport& member : status.report.members) member.free_bytes = 0;
    return volume_status_json(status);
}

}  // namespace

bool differ(const VolumeStatus& before, const VolumeStatus& after) {
    return without_what_passes(before) != without_what_passes(after);
}

std::string screen(const VolumeStatus& status, size_t rows) {
    const std::string table = status_table(status);
    std::string out = std::string(kHome) + kWrapOff;
    size_t row = 1;  // The cursor ends up on a row of its own.
    for (size_t begin = 0; begin < table.size() && row < rows; ++row) {
        const size_t end = table.find('\n', begin);
        out += table.substr(begin, end - begin) + kClearLine + "\r\n";
        begin = end + 1;
    }
    return out + kClearBelow + kWrapOn;
}

std::string block(const VolumeStatus& status, uint64_t seconds_since_1970) {
    return utc_text(seconds_since_1970) + '\n' + status_table(status) + '\n';
}

}  // namespace gemel::tools
