// SPDX-License-Identifier: Apache-2.0
#include "tools/config/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>

#include "blockdev/loop.h"

namespace gemel::tools {

namespace {

constexpr std::string_view kUnits = "BKMGTPE";
constexpr uint64_t kDay = 86'400;
constexpr uint64_t kIntervalDaysMax = 3650;

struct Quantity {
    uint64_t number = 0;
    std::string_view unit;
};

Problem invalid(std::string text) { return {Errc::invalid, std::move(text)}; }

// Splits digits from what follows them.
Outcome<Quantity> split(std::string_view text, const char* example) {
    Quantity quantity;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, quantity.number);
    if (error == std::errc::result_out_of_range) {
        return invalid(fmt::format("'{}' is too large", text));
    }
    if (error != std::errc() || rest == text.data()) {
        return invalid(fmt::format("'{}' is not a whole number such as {}", text, example));
    }
    quantity.unit = std::string_view(rest, static_cast<size_t>(end - rest));
    return quantity;
}

// The power of 1024 that `unit` stands for.
std::optional<unsigned> power_of(std::string_view unit) {
    if (unit.empty()) return 0;
    const char letter =
        unit[0] >= 'a' && unit[0] <= 'z' ? static_cast<char>(unit[0] - 32) : unit[0];
    const size_t power = kUnits.find(letter);
    if (power == std::string_view::npos) return std::nullopt;
    const std::string_view rest = unit.substr(1);
    const bool spelled_out = power != 0 && (rest == "iB" || rest == "ib" || rest == "IB");
    if (!rest.empty() && !spelled_out) return std::nullopt;
    return static_cast<unsigned>(power);
}

}  // namespace

Outcome<uint64_t> parse_size(std::string_view text) {
    const Outcome<Quantity> quantity = split(text, "4096, 64K or 1G");
    if (!quantity.ok()) return quantity.error();
    const std::optional<unsigned> power = power_of(quantity.value().unit);
    if (!power) {
        return invalid(
            fmt::format("'{}' has no unit that is known here; use K, M, G, T, P or E", text));
    }
    const uint64_t unit = 1ull << (10 * *power);
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(quantity.value().number, unit, &bytes)) {
        return invalid(fmt::format("'{}' is too large", text));
    }
    return bytes;
}

std::string exact_size(uint64_t bytes) {
    size_t power = 0;
    while (power + 1 < kUnits.size() && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        ++power;
    }
    return power == 0 ? fmt::format("{}", bytes) : fmt::format("{}{}", bytes, kUnits[power]);
}

std::string readable_size(uint64_t bytes) {
    size_t power = 0;
    while (power + 1 < kUnits.size() && bytes >> (10 * (power + 1)) != 0) ++power;
    if (power == 0) return fmt::format("{} B", bytes);
    const double value = static_cast<double>(bytes) / static_cast<double>(1ull << (10 * power));
    const int decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
    std::string number = fmt::format("{:.{}f}", value, decimals);
    if (decimals != 0) {
        while (number.back() == '0') number.pop_back();
        if (number.back() == '.') number.pop_back();
    }
    return fmt::format("{} {}iB", number, kUnits[power]);
}

Outcome<uint64_t> parse_duration(std::string_view text) {
    const Outcome<Quantity> quantity = split(text, "60s");
    if (!quantity.ok()) return quantity.error();
    const auto& [number, unit] = quantity.value();
    uint64_t unit_ns = 0;
    if (unit.empty() || unit == "s") unit_ns = kSecond;
    if (unit == "ms") unit_ns = kMillisecond;
    if (unit == "m") unit_ns = 60 * kSecond;
    if (unit == "h") unit_ns = 3600 * kSecond;
    if (unit_ns == 0) return invalid(fmt::format("'{}': use ms, s, m or h", text));
    if (number == 0) return invalid(fmt::format("'{}' must be more than nothing", text));
    if (number > kDay * kSecond / unit_ns) {
        return invalid(fmt::format("'{}' is more than a day", text));
    }
    return number * unit_ns;
}

Outcome<uint64_t> parse_interval(std::string_view text) {
    if (text == "off") return uint64_t{0};
    const Outcome<Quantity> quantity = split(text, "7d, 12h or off");
    if (!quantity.ok()) return quantity.error();
    const auto& [number, unit] = quantity.value();
    uint64_t unit_s = 0;
    if (unit == "s") unit_s = 1;
    if (unit == "m") unit_s = 60;
    if (unit == "h") unit_s = 3600;
    if (unit == "d") unit_s = kDay;
    if (unit_s == 0) return invalid(fmt::format("'{}': use s, m, h, d or off", text));
    if (number == 0 || number > kIntervalDaysMax * kDay / unit_s) {
        return invalid(fmt::format("'{}' is not between 1s and {}d", text, kIntervalDaysMax));
    }
    return number * unit_s;
}

}  // namespace gemel::tools
