// SPDX-License-Identifier: Apache-2.0
//
// Every block is hashed once when written and once when read: what that costs.
#include <vector>

#include <benchmark/benchmark.h>

#include "blockdev/bytes.h"
#include "ecc/checksum.h"

namespace gemel::ecc {
namespace {

void hash64_of_bytes(benchmark::State& state) {
    const auto size = static_cast<size_t>(state.range(0));
    const AlignedBytes data = allocate_zeroed(size);
    for (auto _ : state) benchmark::DoNotOptimize(hash64({data.get(), size}, 1));
    state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(hash64_of_bytes)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);

// Walks over `range` blocks, so that 1 shows the cache and 65536 (256 MiB) shows memory.
void block_checksum(benchmark::State& state) {
    const auto blocks = static_cast<uint64_t>(state.range(0));
    const AlignedBytes data = allocate_zeroed(blocks * kBlockSize);
    const BlockHasher hasher(VolumeSecret{});
    uint64_t number = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(hasher.checksum(number, data.get() + number * kBlockSize));
        if (++number == blocks) number = 0;
    }
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBlockSize));
}
BENCHMARK(block_checksum)->Arg(1)->Arg(65536);

void all_zero_of_a_block(benchmark::State& state) {
    const AlignedBytes data = allocate_zeroed(kBlockSize);
    for (auto _ : state) benchmark::DoNotOptimize(all_zero({data.get(), kBlockSize}));
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(kBlockSize));
}
BENCHMARK(all_zero_of_a_block);

}  // namespace
}  // namespace gemel::ecc
