// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/workload.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "blockdev/bytes.h"

namespace gemel::sim {

namespace {

std::string at(uint64_t offset, uint64_t length) {
    return std::to_string(length) + " bytes at " + std::to_string(offset);
}

}  // namespace

WorkloadOptions draw_workload(Random& random, uint64_t size) {
    WorkloadOptions options;
    options.clients = static_cast<uint32_t>(random.skewed(1, 32));
    options.calls_per_client =
        static_cast<uint32_t>(std::max<uint64_t>(random.between(4, 1200) / options.clients, 2));
    options.read_weight = static_cast<uint32_t>(random.skewed(0, 20));
    options.write_weight = static_cast<uint32_t>(random.skewed(1, 20));
    options.trim_weight = random.coin() ? 0 : static_cast<uint32_t>(random.skewed(1, 6));
    options.zero_weight = random.coin() ? 0 : static_cast<uint32_t>(random.skewed(1, 6));
    options.flush_weight = static_cast<uint32_t>(random.skewed(0, 6));
    options.fua_rate = random.coin() ? 0 : static_cast<uint32_t>(random.skewed(1, kCertain / 2));
    options.unaligned_rate = random.coin() ? 0 : static_cast<uint32_t>(random.skewed(1, kCertain));
    options.length_max = random.skewed(4096, 256 << 10);
    options.clear_length_max = random.skewed(4096, size);
    options.hot_rate = static_cast<uint32_t>(random.below(kCertain));
    options.hot_length = std::min(size, random.skewed(4096, 4 << 20));
    options.hot_begin = random.below(size - options.hot_length + 1);
    options.pause_ns_max = random.coin() ? 0 : random.skewed(1, 2 * kMillisecond);
    return options;
}

Workload::Workload(SimEnv& env, BlockDevice& device, Oracle& oracle, WorkloadOptions options,
                   SeedReport& report)
    : env_(env), device_(device), oracle_(oracle), options_(options), report_(report) {}

void Workload::start(Scope& scope) {
    for (uint32_t i = 0; i < options_.clients; ++i) {
        scope.start(client(env_.world().random().next()));
    }
}

void Workload::fail(const std::string& text) { env_.world().violation(text); }

Task<void> Workload::client(uint64_t seed) {
    Random random(seed);
    for (uint32_t i = 0; i < options_.calls_per_client && !stopping_ && env_.alive(); ++i) {
        co_await one_call(random);
        if (options_.pause_ns_max != 0 && random.coin()) {
            co_await sleep_for(env_, random.below(options_.pause_ns_max));
        }
    }
}

Workload::Range Workload::draw_range(Random& random, uint64_t length_max) {
    const uint64_t size = oracle_.size();
    Range range;
    range.length = random.skewed(1, std::min(length_max, size));
    const bool hot = random.chance(options_.hot_rate);
    const uint64_t begin = hot ? options_.hot_begin : 0;
    const uint64_t length = hot ? options_.hot_length : size;
    range.offset = begin + random.below(length);
    if (!random.chance(options_.unaligned_rate)) {
        range.offset = round_down(range.offset, kPageSize);
        range.length = round_up(range.length, kPageSize);
    } else if (random.coin()) {
        range.offset = round_down(range.offset, kSectorSize);
        range.length = round_up(range.length, kSectorSize);
    }
    range.length = std::min(range.length, size - range.offset);
    return range;
}

Task<void> Workload::one_call(Random& random) {
    const uint64_t weights[] = {options_.read_weight, options_.write_weight, options_.trim_weight,
                                options_.zero_weight, options_.flush_weight};
    uint64_t total = 0;
    for (uint64_t weight : weights) total += weight;
    uint64_t drawn = random.below(total);
    size_t verb = 0;
    while (drawn >= weights[verb]) drawn -= weights[verb++];
    const bool clears = verb == 2 || verb == 3;
    const Range range =
        draw_range(random, clears ? options_.clear_length_max : options_.length_max);
    const bool fua = random.chance(options_.fua_rate);
    const bool coin = random.coin();
    const uint64_t misalignment = random.chance(kCertain / 8) ? random.between(1, 4095) : 0;
    if (verb == 0) co_await read(range);
    if (verb == 1) co_await write(range, fua, misalignment);
    if (verb == 2) co_await trim(range, fua);
    if (verb == 3) co_await zero(range, fua, coin);
    if (verb == 4) co_await flush();
}

Task<void> Workload::read(Range range) {
    const AlignedBytes memory = allocate_aligned(range.length);
    const std::span<std::byte> data(memory.get(), range.length);
    const Oracle::Read made = oracle_.read(range.offset, range.length);
    const Status status = co_await device_.read(range.offset, data);
    if (!env_.alive()) co_return;
    report_.count("operations");
    report_.count("reads");
    if (!status.ok()) {
        co_return fail("reading " + at(range.offset, range.length) + ": " + status.error().text());
    }
    const std::optional<uint64_t> wrong = oracle_.fault_of(made, data);
    if (!wrong) co_return;
    fail("a read of " + at(range.offset, range.length) + " returned something else at " +
         std::to_string(*wrong));
}

Task<void> Workload::write(Range range, bool fua, uint64_t misalignment) {
    const AlignedBytes memory = allocate_aligned(range.length + misalignment);
    const std::span<std::byte> data(memory.get() + misalignment, range.length);
    Oracle::fill(oracle_.next_id(), range.offset, data);
    Oracle::Call* call = oracle_.write(range.offset, range.length, fua);
    const Status status = co_await device_.write(range.offset, data, WriteOptions{.fua = fua});
    changed(call, status, "writes");
}

Task<void> Workload::zero(Range range, bool fua, bool keep_allocated) {
    Oracle::Call* call = oracle_.zero(range.offset, range.length, fua);
    ZeroOptions options;
    options.fua = fua;
    options.keep_allocated = keep_allocated;
    const Status status = co_await device_.write_zeroes(range.offset, range.length, options);
    changed(call, status, "write-zeroes");
}

Task<void> Workload::trim(Range range, bool fua) {
    Oracle::Call* call = oracle_.trim(range.offset, range.length, fua);
    const Status status =
        co_await device_.trim(range.offset, range.length, WriteOptions{.fua = fua});
    changed(call, status, "trims");
}

Task<void> Workload::flush() {
    const uint64_t begun = oracle_.begin_flush();
    const Status status = co_await device_.flush();
    if (!env_.alive()) co_return;
    report_.count("operations");
    report_.count("flushes");
    if (!status.ok()) co_return fail("a flush: " + status.error().text());
    oracle_.flushed(begun);
}

// An answer that a dead process still gave to itself is none.
void Workload::changed(Oracle::Call* call, const Status& status, const char* what) {
    if (!env_.alive()) return;
    report_.count("operations");
    report_.count(what);
    if (!status.ok() && status.error().code == Errc::no_space && options_.space_is_short) {
        report_.count("calls refused for lack of space");
        return oracle_.failed(call);
    }
    if (!status.ok()) {
        return fail(std::string(what) + ", " + at(call->begin, call->end - call->begin) + ": " +
                    status.error().text());
    }
    oracle_.answered(call);
}

}  // namespace gemel::sim
