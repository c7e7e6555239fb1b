// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/drive.h"

#include <algorithm>
#include <cstring>

#include "blockdev/bytes.h"
#include "ecc/checksum.h"
#include "tests/sim/flight.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

namespace {

constexpr std::byte kPoison{0xa5};  // What a read's memory holds until data has come.
constexpr uint64_t kLateLandingNs = 50 * kMillisecond;  // Of requests whose process has died.

uint64_t hash_of(const IoRequest& request) {
    uint64_t hash = 0;
    for (uint32_t i = 0; i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        hash = ecc::hash64({segment.data, segment.length}, hash);
    }
    return hash;
}

std::vector<PageRef> pages_of(const IoRequest& request) {
    std::vector<PageRef> pages;
    pages.reserve(request.length / kPageSize);
    for (uint32_t i = 0; i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        for (size_t at = 0; at < segment.length; at += kPageSize) {
            pages.push_back(PageRef::copy_of(segment.data + at));
        }
    }
    return pages;
}

bool holds(const IoRequest& request, const std::vector<PageRef>& pages) {
    size_t next = 0;
    for (uint32_t i = 0; i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        for (size_t at = 0; at < segment.length; at += kPageSize) {
            if (std::memcmp(segment.data + at, pages[next++].data(), kPageSize) != 0) return false;
        }
    }
    return true;
}

// The beginning of each page will do: no checksum survives that, and it is a fraction of the cost.
void poison(const IoRequest& request) {
    constexpr size_t kPoisoned = 64;
    for (uint32_t i = 0; i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        for (size_t at = 0; at < segment.length; at += kPageSize) {
            std::memset(segment.data + at, static_cast<int>(kPoison), kPoisoned);
        }
    }
}

// Copies the bytes from `begin` to before `end` of the transfer into the request's memory.
void fill(const IoRequest& request, const Platter& platter, uint64_t begin, uint64_t end) {
    uint64_t start = 0;
    for (uint32_t i = 0; i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        const uint64_t from = std::max(begin, start);
        const uint64_t to = std::min(end, start + segment.length);
        if (from < to) {
            platter.read(request.offset + from, {segment.data + (from - start), to - from});
        }
        start += segment.length;
    }
}

}  // namespace

Drive::Drive(SimWorld& world, uint64_t number, DriveOptions options)
    : world_(world),
      number_(number),
      options_(std::move(options)),
      platter_(options_.size, options_.file_system),
      random_(world.random().fork()) {}

Drive::~Drive() {
    for (auto& [number, flight] : flights_) delete flight;
}

// What the contract of Disk asks of its caller: breaking it is our own mistake, on any disk.
void Drive::check(const IoRequest& request, uint64_t handle) const {
    CHECK(request.offset % kIoAlignment == 0 && request.length % kIoAlignment == 0);
    CHECK(request.done.run != nullptr);
    const bool moves = request.kind == IoKind::read || request.kind == IoKind::write;
    uint64_t total = 0;
    for (uint32_t i = 0; moves && i < request.segment_count; ++i) {
        const IoSegment& segment = request.segments[i];
        CHECK(segment.length % kIoAlignment == 0 && segment.length != 0);
        CHECK(reinterpret_cast<uintptr_t>(segment.data) % kIoAlignment == 0);
        total += segment.length;
    }
    CHECK(!moves || total == request.length);
    CHECK(request.kind == IoKind::sync || request.length != 0);
    const bool changes = request.kind != IoKind::read && request.kind != IoKind::sync;
    if (!changes) return;
    if (request.length > platter_.size() || request.offset > platter_.size() - request.length) {
        world_.violation(options_.path + ": a write goes beyond the end of the disk");
    }
    if (lock_holder_ != 0 && lock_holder_ != handle && !outsiders_.contains(handle)) {
        world_.violation(options_.path + ": written to while somebody else holds its lock");
    }
}

std::unique_ptr<Flight> Drive::take_off(SimEnv& process, uint64_t handle, IoRequest& request) {
    auto flight = std::make_unique<Flight>(*this);
    flight->number = ++next_flight_;
    flight->process = &process;
    flight->handle = handle;
    flight->request = &request;
    flight->kind = request.kind;
    flight->offset = request.offset;
    flight->length = request.length;
    flight->landing_end = flight->sectors();
    flight->sync_point = platter_.sync_point();
    if (flight->changes()) {
        flight->change.kind = request.kind;
        flight->change.first_page = request.offset / kPageSize;
        flight->change.page_count = request.length / kPageSize;
        if (request.kind == IoKind::write) flight->change.pages = pages_of(request);
    }
    return flight;
}

void Drive::submit(SimEnv& process, uint64_t handle, IoRequest& request) {
    if (!process.alive()) return;
    check(request, handle);
    const Moment moment{MomentKind::submitting, &process,       this,
                        request.kind,           request.offset, request.length};
    world_.observe(moment);
    if (!process.alive()) return;
    const uint64_t hash = request.kind == IoKind::write ? hash_of(request) : 0;
    world_.trace().event(
        world_.now_ns(), TraceTag::submit,
        {number_, static_cast<uint64_t>(request.kind), request.offset, request.length, hash});
    std::unique_ptr<Flight> owned = take_off(process, handle, request);
    Flight& flight = *owned;
    judge(flight);
    if (flight.changes() && !outsiders_.contains(handle)) claim_pages(flight);
    if (flight.kind == IoKind::read) poison(request);
    flights_.emplace(flight.number, owned.release());

    const uint64_t delay = draw_latency_ns(flight);
    flight.finish_ns = world_.now_ns() + delay;
    uint64_t first_ns = flight.finish_ns;
    if (flight.sectors() > 0 && random_.chance(latency.two_step_rate)) {
        flight.stepped = false;
        flight.cut =
            random_.chance(kCertain / 3) ? flight.sectors() : random_.below(flight.sectors() + 1);
        first_ns = world_.now_ns() + random_.below(delay);
    }
    world_.schedule_at(first_ns, flight);
    Moment after = moment;
    after.kind = MomentKind::submitted;
    world_.observe(after);
}

// Decides what will become of the request.
void Drive::judge(Flight& flight) {
    const auto fails = [&flight](Errc code, const char* what) {
        flight.outcome = Error{code, 0, what};
        flight.landing_end = 0;
    };
    const bool beyond =
        flight.length > platter_.size() || flight.offset > platter_.size() - flight.length;
    if (faults.dead) return fails(Errc::io, "the drive is dead");
    if (flight.kind == IoKind::sync) {
        if (unsyncable_.contains(flight.handle)) fails(Errc::io, "sync: one has failed before");
        if (random_.chance(faults.sync_error_rate)) fails(Errc::io, "sync: injected error");
        return;
    }
    if (beyond) return fails(Errc::io, "beyond the end of the device");
    const Fate fate = fates != nullptr
                          ? fates->fate_of(*this, flight.kind, flight.offset, flight.length)
                          : Fate::as_asked;
    if (flight.kind == IoKind::read) {
        const auto bad = faults.unreadable_pages.lower_bound(flight.offset / kPageSize);
        const bool hit = bad != faults.unreadable_pages.end() &&
                         *bad < (flight.offset + flight.length) / kPageSize;
        const bool failing = random_.chance(faults.read_error_rate) || fate == Fate::fails;
        if (hit || failing) fails(Errc::io, "read: injected error");
        return;
    }
    FileSystem* space = options_.file_system;
    if (space != nullptr && flight.kind != IoKind::punch) {
        const uint64_t needed = platter_.holes(flight.change.first_page, flight.change.page_count);
        if (needed > space->free_pages()) return fails(Errc::no_space, "the file system is full");
        flight.reserved_pages = needed;
        space->reserved_pages += needed;
    }
    if (random_.chance(faults.write_error_rate) || fate == Fate::fails) {
        fails(Errc::io, "write: injected error");
        flight.landing_begin = random_.below(flight.sectors() + 1);
        flight.landing_end = random_.between(flight.landing_begin, flight.sectors());
    } else if (random_.chance(faults.lost_write_rate) || fate == Fate::is_lost) {
        flight.landing_end = 0;
    }
}

// Two writes of one block in flight at once leave either content, on any disk: a mistake.
void Drive::claim_pages(const Flight& flight) {
    const uint64_t first = flight.change.first_page;
    const uint64_t end = first + flight.change.page_count;
    const auto next = writing_.lower_bound(first);
    bool overlaps = next != writing_.end() && next->first < end;
    if (next != writing_.begin()) overlaps = overlaps || std::prev(next)->second > first;
    if (overlaps) {
        world_.violation(options_.path + ": two writes of one block are in flight, the second at " +
                         std::to_string(flight.offset) + ", " + std::to_string(flight.length) +
                         " bytes");
    }
    writing_.emplace(first, end);
}

uint64_t Drive::draw_latency_ns(const Flight& flight) {
    uint64_t delay = latency.base_ns + random_.below(latency.spread_ns + 1);
    const bool moves = flight.kind == IoKind::read || flight.kind == IoKind::write;
    if (moves) delay += latency.page_ns * (flight.length / kPageSize);
    if (flight.kind == IoKind::sync) delay += latency.sync_ns;
    if (random_.chance(latency.slow_rate)) delay += random_.below(latency.slow_ns + 1);
    delay *= faults.slowness;
    if (!latency.one_at_a_time) return delay + 1;
    const uint64_t now = world_.now_ns();
    busy_until_ns_ = std::max(busy_until_ns_, now) + delay + 1;
    return busy_until_ns_ - now;
}

void Drive::advance(Flight& flight) {
    if (flight.resolved) return retire(flight);
    if (faults.hung) {
        hanging_.push_back(&flight);
        return;
    }
    if (!flight.stepped) {
        flight.stepped = true;
        move_data(flight, 0, flight.cut);
        world_.schedule_at(flight.finish_ns, flight);
    } else if (flight.finish_ns > world_.now_ns()) {
        world_.schedule_at(flight.finish_ns, flight);  // Put off when its process died.
    } else {
        finish(flight);
    }
}

void Drive::move_data(Flight& flight, uint64_t begin, uint64_t end) {
    const uint64_t from = std::max(begin, flight.landing_begin);
    const uint64_t to = std::min(end, flight.landing_end);
    if (from >= to) return;
    if (flight.changes()) {
        platter_.land(flight.change, from, to);
        if (!faults.unreadable_pages.empty()) {
            cure_pages(flight.offset + from * kSectorSize, (to - from) * kSectorSize);
        }
    } else if (flight.request != nullptr) {
        fill(*flight.request, platter_, from * kSectorSize, to * kSectorSize);
    }
}

// What was written to is readable again: the disk has put it somewhere else.
void Drive::cure_pages(uint64_t offset, uint64_t length) {
    const auto first = faults.unreadable_pages.lower_bound(offset / kPageSize);
    const auto end = faults.unreadable_pages.lower_bound((offset + length - 1) / kPageSize + 1);
    faults.unreadable_pages.erase(first, end);
}

void Drive::finish(Flight& flight) {
    move_data(flight, flight.cut, flight.sectors());
    world_.trace().event(world_.now_ns(), TraceTag::land,
                         {number_, flight.number, flight.landing_begin, flight.landing_end});
    settle(flight);
    complete(flight);
    retire(flight);
}

// The drive is done with it: releases what it held, and lets it count for syncs.
void Drive::settle(Flight& flight) {
    flight.resolved = true;
    if (flight.kind == IoKind::sync) {
        if (flight.outcome.ok()) {
            platter_.synced(flight.sync_point);
        } else {
            platter_.sync_failed(flight.sync_point, random_);
            unsyncable_.insert(flight.handle);
        }
    }
    if (!flight.changes()) return;
    if (!outsiders_.contains(flight.handle)) writing_.erase(flight.change.first_page);
    if (options_.file_system != nullptr) {
        options_.file_system->reserved_pages -= flight.reserved_pages;
    }
    const bool unchanged = flight.request == nullptr || flight.kind != IoKind::write ||
                           holds(*flight.request, flight.change.pages);
    if (!unchanged) {
        world_.violation(options_.path + ": the memory of a write changed while it was in flight");
    }
    platter_.completed(std::move(flight.change));
}

void Drive::complete(Flight& flight) {
    if (flight.process != nullptr) {
        world_.observe({MomentKind::completing, flight.process, this, flight.kind, flight.offset,
                        flight.length});
    }
    // What observed it may have killed the process.
    if (flight.process == nullptr) return unlock_if_idle(flight.handle);
    flight.request->status = flight.outcome;
    flight.process->post(flight.request->done);
}

void Drive::retire(Flight& flight) {
    flights_.erase(flight.number);
    delete &flight;
}

void Drive::closed(uint64_t handle) {
    CHECK(!has_flights(handle));
    if (lock_holder_ == handle) lock_holder_ = 0;
}

bool Drive::try_lock(uint64_t handle) {
    if (lock_holder_ == 0) lock_holder_ = handle;
    return lock_holder_ == handle;
}

bool Drive::has_flights(uint64_t handle) const {
    return std::any_of(flights_.begin(), flights_.end(), [handle](const auto& entry) {
        return entry.second->handle == handle && !entry.second->resolved;
    });
}

void Drive::unlock_if_idle(uint64_t handle) {
    if (lock_holder_ == handle && !has_flights(handle)) lock_holder_ = 0;
}

void Drive::abandon(SimEnv& process) {
    for (auto& [number, flight] : flights_) {
        if (flight->process != &process) continue;
        flight->process = nullptr;
        flight->request = nullptr;
        if (random_.chance(kCertain / 4)) flight->finish_ns += random_.below(kLateLandingNs);
        if (flight->changes() && random_.coin()) cut_short(*flight);
    }
    for (const uint64_t handle : process.handles()) unlock_if_idle(handle);
}

// Only a part of it, or nothing, will land. What the first step has moved stays, and what follows
// joins on to it.
void Drive::cut_short(Flight& flight) {
    const Change& change = flight.change;
    const bool begun = change.landed_begin != change.landed_end;
    if (begun) {
        if (change.landed_end >= flight.landing_end) return;
        flight.landing_end = random_.between(change.landed_end, flight.landing_end);
    } else if (random_.coin() || flight.landing_begin >= flight.landing_end) {
        flight.landing_end = flight.landing_begin;
    } else {
        flight.landing_begin = random_.between(flight.landing_begin, flight.landing_end);
        flight.landing_end = random_.between(flight.landing_begin, flight.landing_end);
    }
}

void Drive::lose_power(LossStyle style) {
    std::vector<Change> in_flight;
    for (auto& [number, flight] : flights_) {
        if (flight->resolved) continue;
        CHECK(flight->process == nullptr);
        flight->resolved = true;
        if (!flight->changes()) continue;
        if (options_.file_system != nullptr) {
            options_.file_system->reserved_pages -= flight->reserved_pages;
        }
        in_flight.push_back(std::move(flight->change));
    }
    writing_.clear();
    lock_holder_ = 0;
    platter_.lose_power(std::move(in_flight), style, random_);
}

void Drive::release() {
    faults.hung = false;
    for (Flight* flight : hanging_) world_.schedule_at(world_.now_ns(), *flight);
    hanging_.clear();
}

}  // namespace gemel::sim
