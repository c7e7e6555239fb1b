// SPDX-License-Identifier: Apache-2.0
//
// What a write costs between the network and the log: one copy and one hash into a batch, and its
// place in the overlay.
#include <vector>

#include <benchmark/benchmark.h>

#include "blockdev/batch.h"
#include "blockdev/overlay.h"

namespace gemel::blockdev {
namespace {

constexpr uint64_t kVolumeBlocks = 1 << 19;  // 2 GiB.

// `count` writes of `blocks` blocks each, scattered like random ones but the same every time.
std::vector<BatchWrite> scattered_writes(const std::byte* data, int64_t count, int64_t blocks) {
    std::vector<BatchWrite> writes;
    for (int64_t i = 0; i < count; ++i) {
        BatchWrite write;
        write.kind = EntryKind::write;
        write.first_block = static_cast<uint64_t>(i) * 7919 * 64 % (kVolumeBlocks - 64);
        write.block_count = static_cast<uint32_t>(blocks);
        write.data = data;
        writes.push_back(write);
    }
    return writes;
}

// Writes a batch, blocks a write.
void batch_encode(benchmark::State& state) {
    BufferPool pool(16 << 20);
    const AlignedBytes data = allocate_zeroed(static_cast<size_t>(state.range(1)) * kBlockSize);
    const ecc::BlockHasher hasher(ecc::VolumeSecret{});
    const std::vector<BatchWrite> writes =
        scattered_writes(data.get(), state.range(0), state.range(1));
    BatchPlace place;
    place.first_sequence = 1;
    for (auto _ : state) {
        benchmark::DoNotOptimize(Batch::encode(pool, hasher, place, writes)->hash());
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
    state.SetBytesProcessed(state.iterations() * state.range(0) * state.range(1) *
                            static_cast<int64_t>(kBlockSize));
}
BENCHMARK(batch_encode)->Args({1, 1})->Args({32, 1})->Args({1, 16})->Args({8, 16});

void batch_verify(benchmark::State& state) {
    BufferPool pool(16 << 20);
    const AlignedBytes data = allocate_zeroed(kBlockSize);
    const ecc::BlockHasher hasher(ecc::VolumeSecret{});
    BatchPlace place;
    place.first_sequence = 1;
    const BatchRef batch =
        Batch::encode(pool, hasher, place, scattered_writes(data.get(), state.range(0), 1));
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            batch_header_fault(batch->bytes().first(kBlockSize), place.volume, kVolumeBlocks));
        benchmark::DoNotOptimize(batch_payload_fault(batch->bytes(), hasher));
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch_verify)->Arg(1)->Arg(32);

// Inserts the same blocks over and over, as absorbed overwrites do, in a table of their number.
void overlay_insert(benchmark::State& state) {
    BufferPool pool(16 << 20);
    const AlignedBytes data = allocate_zeroed(kBlockSize);
    const ecc::BlockHasher hasher(ecc::VolumeSecret{});
    Overlay overlay;
    uint64_t sequence = 1;
    for (auto _ : state) {
        state.PauseTiming();
        BatchPlace place;
        place.first_sequence = sequence;
        sequence += 32;
        const BatchRef batch =
            Batch::encode(pool, hasher, place, scattered_writes(data.get(), 32, 1));
        state.ResumeTiming();
        overlay.insert(*batch);
    }
    state.SetItemsProcessed(state.iterations() * 32);
}
BENCHMARK(overlay_insert);

// An overlay with as many blocks as a busy log holds, asked for blocks that are mostly not there.
void overlay_find(benchmark::State& state) {
    BufferPool pool(16 << 20);
    const AlignedBytes data = allocate_zeroed(kBlockSize);
    const ecc::BlockHasher hasher(ecc::VolumeSecret{});
    Overlay overlay;
    std::vector<BatchRef> batches;
    for (uint64_t i = 0; i < 1024; ++i) {
        BatchPlace place;
        place.first_sequence = 1 + i * 32;
        std::vector<BatchWrite> writes = scattered_writes(data.get(), 32, 1);
        for (BatchWrite& write : writes) write.first_block += i * 4 % 64;
        batches.push_back(Batch::encode(pool, hasher, place, writes));
        overlay.insert(*batches.back());
    }
    uint64_t block = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(overlay.find(block));
        block = (block + 7919) % kVolumeBlocks;
    }
}
BENCHMARK(overlay_find);

}  // namespace
}  // namespace gemel::blockdev
