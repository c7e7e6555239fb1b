// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario_process.h"

#include <algorithm>
#include <cstring>

#include "blockdev/bytes.h"

namespace gemel::sim {

namespace {

constexpr uint64_t kScanPiece = 256 << 10;
constexpr uint64_t kDrainLimitNs = 1000 * kSecond;
constexpr uint64_t kScrubLook_ns = 10 * kMillisecond;
constexpr uint64_t kAskAgain_ns = 100 * kMillisecond;

}  // namespace

Task<void> ScenarioProcess::create(mirror::CreateOptions options) {
    created.emplace(co_await mirror::create_volume(env, std::move(options)));
}

Task<void> ScenarioProcess::open(mirror::VolumeDescription description,
                                 mirror::OpenOptions options) {
    opened.emplace(co_await mirror::open_volume(env, std::move(description), options));
}

Task<void> ScenarioProcess::close(uint64_t deadline_ns) {
    closed = co_await volume->close(deadline_ns);
}

Task<void> ScenarioProcess::scan(Oracle& oracle, std::vector<Extent>& extents) {
    const AlignedBytes memory = allocate_aligned(kScanPiece);
    for (uint64_t at = 0; at < oracle.size() && env.alive(); at += kScanPiece) {
        const uint64_t length = std::min(kScanPiece, oracle.size() - at);
        const std::span<std::byte> data(memory.get(), length);
        const Status status = co_await volume->read(at, data);
        if (!status.ok()) co_return fail("scan: " + status.error().text());
        oracle.found(at, data);
    }
    for (uint64_t at = 0; at < oracle.size() && env.alive();) {
        auto found = co_await volume->extents(at, oracle.size() - at, 100);
        if (!found.ok() || found.value().empty()) {
            co_return fail("extents: none at " + std::to_string(at));
        }
        for (const Extent& extent : found.value()) {
            extents.push_back(extent);
            at += extent.length;
        }
    }
    scanned = true;
}

// One that was under way has looked at some places already: it does not count.
Task<void> ScenarioProcess::scrub() {
    scrubbed.reset();
    const mirror::ScrubReport before = volume->report().scrub;
    uint64_t left = before.running || before.next_page != 0 ? 2 : 1;
    uint64_t passes = before.passes;
    while (left > 0) {
        volume->scrub();
        mirror::ScrubReport now = volume->report().scrub;
        while (now.passes == passes) {
            co_await sleep_for(env, kScrubLook_ns);
            now = volume->report().scrub;
        }
        passes = now.passes;
        if (--left == 0) scrubbed = now;
    }
}

Task<void> ScenarioProcess::take_offline(size_t member) {
    const std::optional<Problem> refused = co_await volume->take_offline(member);
    static_cast<void>(refused);
}

// While something of it is still under way it is refused.
Task<void> ScenarioProcess::bring_online(size_t member) {
    while (true) {
        const std::optional<Problem> refused = co_await volume->bring_online(member);
        if (!refused || volume->report().state != "serving") co_return;
        co_await sleep_for(env, kAskAgain_ns);
    }
}

Task<void> ScenarioProcess::drain() {
    const Status status = co_await volume->drain(env.now_ns() + kDrainLimitNs);
    if (!status.ok()) fail("drain: " + status.error().text());
    drained = true;
}

Task<void> ScenarioProcess::expect_lost(Oracle& oracle, uint64_t block, bool lost) {
    const std::string place = "block " + std::to_string(block);
    const AlignedBytes memory = allocate_aligned(kPageSize);
    const std::span<std::byte> data(memory.get(), kPageSize);
    const Oracle::Read made = oracle.read(block * kPageSize, kPageSize);
    const Status status = co_await volume->read(block * kPageSize, data);
    if (lost && status.ok()) co_return fail(place + " was read, and no member has a good copy");
    if (lost && status.error().code != Errc::io) fail(place + ": " + status.error().text());
    if (lost) co_return;
    if (!status.ok()) co_return fail(place + " cannot be read: " + status.error().text());
    if (oracle.fault_of(made, data)) fail(place + ": a read returned something else");
}

Task<void> ScenarioProcess::overwrite(Oracle& oracle, uint64_t block, uint64_t way) {
    const uint64_t offset = block * kPageSize;
    const AlignedBytes memory = allocate_aligned(kPageSize);
    const std::span<std::byte> data(memory.get(), kPageSize);
    Status status;
    Oracle::Call* call = nullptr;
    if (way == 0) {
        call = oracle.trim(offset, kPageSize, false);
        status = co_await volume->trim(offset, kPageSize, {});
    } else if (way == 1) {
        call = oracle.zero(offset, kPageSize, false);
        status = co_await volume->write_zeroes(offset, kPageSize, {});
    } else {
        // A part of it alone would make up the rest.
        const Status part = co_await volume->write(offset + 1, data.first(100), {});
        if (part.ok()) co_return fail("a part of a lost block was written");
        Oracle::fill(oracle.next_id(), offset, data);
        call = oracle.write(offset, kPageSize, false);
        status = co_await volume->write(offset, data, {});
    }
    if (!status.ok()) co_return fail("overwriting a lost block: " + status.error().text());
    oracle.answered(call);
}

Task<void> ScenarioProcess::probe_lost(Oracle& oracle, const std::set<uint64_t>& lost,
                                       uint64_t seed) {
    Random random(seed);
    const uint64_t blocks = oracle.size() / kPageSize;
    for (const uint64_t block : lost) {
        co_await expect_lost(oracle, block, true);
        for (const uint64_t other : {block - 1, block + 1}) {
            if (other < blocks) co_await expect_lost(oracle, other, lost.contains(other));
        }
    }
    uint64_t left = lost.size();
    for (const uint64_t block : lost) {
        if (volume->report().unrecoverable_blocks != left--) {
            fail("unrecoverable: " + std::to_string(volume->report().unrecoverable_blocks) +
                 " blocks, not " + std::to_string(left + 1));
        }
        co_await overwrite(oracle, block, random.below(3));
        co_await expect_lost(oracle, block, false);
    }
    if (volume->report().unrecoverable_blocks != 0) fail("overwritten, and still unrecoverable");
    probed = true;
}

}  // namespace gemel::sim
