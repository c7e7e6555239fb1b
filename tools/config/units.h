// SPDX-License-Identifier: Apache-2.0
//
// Sizes and durations as people write and read them. Units are binary: 1K is 1024 bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "blockdev/result.h"

namespace gemel::tools {

// "4096", "64K", "1G", "512MiB", "1T": a whole number, then nothing or one of B K M G T P E, in
// either case, the letters also with "iB". "MB" is refused, since half of all readers take it to
// mean a million. The problem says what is wrong with the text, without naming any option.
Outcome<uint64_t> parse_size(std::string_view text);

// Exact, and the shortest that parse_size reads back: "1G", "1536M", "4097".
std::string exact_size(uint64_t bytes);

// For people, three digits: "1 GiB", "1.5 GiB", "4097 B".
std::string readable_size(uint64_t bytes);

// "60s", "500ms", "2m", "1h"; a bare number means seconds. In nanoseconds, above 0 and at most a
// day.
Outcome<uint64_t> parse_duration(std::string_view text);

// How often something is done: "7d", "12h", "30m", "90s", at most ten years; "off" is 0. In
// seconds.
Outcome<uint64_t> parse_interval(std::string_view text);

}  // namespace gemel::tools
