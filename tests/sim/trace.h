// SPDX-License-Identifier: Apache-2.0
//
// What happened in a run: always as one hash over every event, which two runs of a seed must have
// in common; on demand as lines to read.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace gemel::sim {

enum class TraceTag : uint8_t {
    submit = 1,
    land,
    complete,
    file,
    timer,
    kill,
    power_loss,
    start,
    network,
    scenario,
    log,
};

class Trace {
public:
    explicit Trace(bool printing) : printing_(printing) {}

    void event(uint64_t time_ns, TraceTag tag, std::initializer_list<uint64_t> words) {
        mix(time_ns);
        mix(static_cast<uint64_t>(tag));
        for (uint64_t word : words) mix(word);
        ++events_;
    }
    uint64_t hash() const { return hash_; }
    uint64_t events() const { return events_; }

    // Ask before composing a line: composing costs more than the event.
    bool printing() const { return printing_; }
    void line(uint64_t time_ns, std::string_view text) const;

private:
    void mix(uint64_t word) {
        hash_ = ((hash_ << 27) | (hash_ >> 37)) ^ word;
        hash_ = hash_ * 0x9e3779b97f4a7c15ull + 0x52dce729ull;
    }

    bool printing_;
    uint64_t hash_ = 0x243f6a8885a308d3ull;
    uint64_t events_ = 0;
};

}  // namespace gemel::sim
