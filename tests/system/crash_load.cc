// SPDX-License-Identifier: Apache-2.0
#include "tests/system/crash_load.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

namespace gemel::crash {
namespace {

constexpr size_t kQueueDepthMax = 64;
constexpr uint64_t kLengthMax = 256 << 10;
constexpr uint64_t kReadMax = 64 << 10;
constexpr uint64_t kHotLength = 512 << 10;
constexpr uint64_t kDiscardMax = kHotLength;

}  // namespace

uint64_t pick(Random& random, uint64_t first, uint64_t last) {
    return std::uniform_int_distribution<uint64_t>(first, last)(random);
}

Load::Load(LoadOptions options, Record& record, Client& client, Random& random)
    : options_(options), record_(record), client_(client), random_(random), slots_(kQueueDepthMax) {
    for (Slot& slot : slots_) slot.buffer.resize(kLengthMax);
    choose_profile();
}

void Load::choose_profile() {
    constexpr size_t kDepths[] = {1, 2, 4, 8, 16, 32, 48, kQueueDepthMax};
    static constexpr uint64_t kPercents[] = {0, 1, 5, 20};
    const auto percent = [this] { return kPercents[pick(random_, 0, 3)]; };
    queue_depth_ = kDepths[pick(random_, 0, std::size(kDepths) - 1)];
    hot_offset_ = pick(random_, 0, (record_.size() - kHotLength) / kSector) * kSector;
    hot_percent_ = percent() * 4;
    large_percent_ = percent();
    flush_percent_ = percent();
    discard_percent_ = percent();
    read_percent_ = percent();
    fua_percent_ = percent();
    idle_.clear();
    for (size_t i = queue_depth_; i > 0; --i) idle_.push_back(i - 1);
    for (Slot& slot : slots_) slot.request = Request::none;
}

// Small ones are frequent; whole blocks, single sectors and the atomic limit itself all occur.
uint64_t Load::pick_sectors(uint64_t length_max) {
    uint64_t length = 0;
    switch (pick(random_, 0, 4)) {
        case 0: length = kBlock; break;
        case 1: length = kBlock * pick(random_, 1, kAtomicMax / kBlock); break;
        case 2: length = kSector * pick(random_, 1, 16); break;
        case 3: length = kSector * pick(random_, 1, kAtomicMax / kSector); break;
        default: length = kAtomicMax; break;
    }
    if (length_max > kAtomicMax && pick(random_, 1, 100) <= large_percent_) {
        length = pick(random_, kAtomicMax / kSector + 1, length_max / kSector) * kSector;
    }
    return std::min(length, length_max);
}

Load::Place Load::pick_place(uint64_t length_max) {
    const uint64_t zone = record_.byte_zone();
    if (zone > 0 && pick(random_, 1, 100) <= 10) {  // Any byte, any length.
        const uint64_t length = pick(random_, 1, std::min({zone, length_max, kAtomicMax}));
        return {pick(random_, 0, zone - length), length};
    }
    const uint64_t length = pick_sectors(length_max);
    uint64_t first = 0;
    uint64_t last = record_.size() - length;
    if (pick(random_, 1, 100) <= hot_percent_) {
        first = hot_offset_;
        last = hot_offset_ + kHotLength - length;
    }
    const uint64_t unit = pick(random_, 0, 1) == 0 && first % kBlock == 0 ? kBlock : kSector;
    return {pick(random_, first / unit, last / unit) * unit, length};
}

void Load::issue_write(size_t tag, Place place) {
    Slot& slot = slots_[tag];
    slot.version = record_.submit(Kind::write, place.offset, place.length);
    const std::span<uint8_t> content(slot.buffer.data(), place.length);
    fill_pattern(options_.seed, slot.version, place.offset, content);
    client_.write(tag, content, place.offset, pick(random_, 1, 100) <= fua_percent_);
}

void Load::issue(size_t tag) {
    Slot& slot = slots_[tag];
    if (pick(random_, 1, 100) <= flush_percent_) {
        slot.request = Request::flush;
        client_.flush(tag);
    } else if (pick(random_, 1, 100) <= read_percent_) {
        const Place place = pick_place(kReadMax);
        slot.request = Request::read;
        slot.length = place.length;
        slot.read = record_.begin_read(place.offset, place.length);
        client_.read(tag, {slot.buffer.data(), place.length}, place.offset);
    } else if (pick(random_, 1, 100) <= discard_percent_) {
        const Place place = pick_place(kDiscardMax);
        const bool trim = options_.trim && pick(random_, 0, 1) == 0;
        slot.request = Request::change;
        slot.length = 0;
        slot.version = record_.submit(trim ? Kind::trim : Kind::zeroes, place.offset, place.length);
        if (trim) {
            client_.trim(tag, place.offset, place.length);
        } else {
            client_.zero(tag, place.offset, place.length, pick(random_, 0, 1) == 0);
        }
    } else {
        const Place place = pick_place(kLengthMax);
        slot.request = Request::change;
        slot.length = place.length;
        issue_write(tag, place);
    }
}

void Load::finish(Slot& slot) {
    switch (slot.request) {
        case Request::change:
            record_.acknowledge(slot.version);
            slot.length > 0 ? ++counts_.writes : ++counts_.others;
            counts_.write_bytes += slot.length;
            break;
        case Request::read: {
            ++counts_.reads;
            const std::string wrong =
                record_.finish_read(slot.read, {slot.buffer.data(), slot.length});
            if (!wrong.empty()) throw std::runtime_error(wrong);
            break;
        }
        case Request::flush: ++counts_.others; break;
        case Request::none: throw std::runtime_error("an answer to nothing");
    }
}

void Load::handle(const std::vector<Client::Completion>& ended) {
    for (const Client::Completion& one : ended) {
        Slot& slot = slots_[one.tag];
        if (one.error > 0) {
            throw std::runtime_error(std::string("the server answered an error: ") +
                                     std::strerror(one.error));
        }
        if (one.error == 0) finish(slot);
        slot.request = Request::none;
        idle_.push_back(one.tag);
    }
}

void Load::fill_queue() {
    while (!idle_.empty() && !client_.all_dead()) {
        const size_t tag = idle_.back();
        idle_.pop_back();
        issue(tag);
    }
}

void Load::run_until(Clock::time_point end) {
    while (Clock::now() < end) {
        fill_queue();
        handle(client_.poll(10));
        if (client_.all_dead()) throw std::runtime_error("the server dropped its connections");
    }
    // What follows shall meet the server busy, at any stage of its work.
    fill_queue();
    std::this_thread::sleep_for(std::chrono::microseconds(pick(random_, 0, 1000)));
}

void Load::drain(Clock::time_point deadline) {
    while (!client_.all_dead()) {
        if (Clock::now() > deadline) {
            throw std::runtime_error("connections to the killed server stay open");
        }
        handle(client_.poll(10));
    }
    handle(client_.poll(0));
}

}  // namespace gemel::crash
