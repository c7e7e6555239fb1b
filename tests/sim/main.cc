// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>

#include "tests/sim/runner.h"
#include "tests/sim/volume_scenario.h"

namespace {

using gemel::sim::SeedReport;

SeedReport run_volume(uint64_t seed, bool printing) {
    return gemel::sim::VolumeScenario({.seed = seed, .printing = printing}).run();
}

int run_one(uint64_t seed, bool printing) {
    const SeedReport report = run_volume(seed, printing);
    gemel::sim::print_counts(report);
    std::printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, report.trace_hash);
    if (report.failure.empty()) return 0;
    std::printf("seed %" PRIu64 " FAILED: %s\n  replay: gemel-sim --seed %" PRIu64 " --trace\n",
                seed, report.failure.c_str(), seed);
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Runs the mirrored volume in a simulated world that crashes. A seed is one run, "
        "the same every time."};
    uint64_t seed = 0;
    bool trace = false;
    gemel::sim::RunnerOptions options;
    auto* one = app.add_option("--seed", seed, "run this seed alone, in this process");
    app.add_flag("--trace", trace, "with --seed: print what happens")->needs(one);
    auto* from = app.add_option("--from", options.from, "the first of many seeds");
    app.add_option("--count", options.count, "how many seeds")->needs(from);
    app.add_option("--jobs", options.jobs, "how many at a time")->check(CLI::Range(1, 1024));
    app.add_flag("--twice", options.twice, "run each seed again and compare the traces");
    from->excludes(one);
    CLI11_PARSE(app, argc, argv);
    // Large buffers come and go all the time: without this the kernel clears each of them anew,
    // which takes longer than everything else.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    // A seed that never ends shall have shown where it stands.
    if (trace) std::setvbuf(stdout, nullptr, _IOLBF, 1 << 16);
    if (*one) return run_one(seed, trace);
    const auto run = [](uint64_t number) { return run_volume(number, false); };
    return gemel::sim::run_seeds(options, run) ? 0 : 1;
}
