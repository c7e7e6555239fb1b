// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cinttypes>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/sim/coverage.h"
#include "tests/sim/minimise.h"
#include "tests/sim/runner.h"
#include "tests/sim/volume_scenario.h"

namespace {

using gemel::sim::SeedReport;

using gemel::sim::FaultSet;

int run_one(uint64_t seed, bool printing, FaultSet faults, const std::string& replay_options) {
    const SeedReport report =
        gemel::sim::VolumeScenario({.seed = seed, .printing = printing, .faults = faults}).run();
    gemel::sim::print_counts(report);
    std::printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, report.trace_hash);
    if (report.failure.empty()) return 0;
    std::printf("seed %" PRIu64 " FAILED: %s\n  replay: gemel-sim --seed %" PRIu64 "%s --trace\n",
                seed, report.failure.c_str(), seed, replay_options.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{
        "Runs the mirrored volume in a simulated world that crashes and whose disks decay. A seed "
        "is one run, the same every time."};
    uint64_t seed = 0;
    bool trace = false;
    bool shrink = false;
    std::vector<std::string> without;
    gemel::sim::RunnerOptions options;
    auto* one = app.add_option("--seed", seed, "run this seed alone, in this process");
    app.add_flag("--trace", trace, "with --seed: print what happens")->needs(one);
    app.add_flag("--minimise", shrink,
                 "with --seed: find the classes of faults that it needs to fail")
        ->needs(one);
    auto* from = app.add_option("--from", options.from, "the first of many seeds");
    app.add_option("--count", options.count, "how many seeds")->needs(from);
    app.add_option("--jobs", options.jobs, "how many at a time")->check(CLI::Range(1, 1024));
    app.add_option("--failures", options.failures_max, "stop after so many seeds that fail")
        ->check(CLI::PositiveNumber);
    app.add_flag("--twice", options.each.twice, "run each seed again and compare the traces");
    app.add_option("--without", without,
                   "classes of faults that do not happen: " + FaultSet::all().names())
        ->delimiter(',')
        ->check([](const std::string& text) {
            return gemel::sim::parse_fault_class(text) ? "" : text + " is no class of faults";
        });
    from->excludes(one);
    CLI11_PARSE(app, argc, argv);
    FaultSet faults = FaultSet::all();
    for (const std::string& text : without) faults.remove(*gemel::sim::parse_fault_class(text));
    if (!without.empty()) options.replay_options = " --without " + (~faults).names();
    if (without.empty()) options.covers_from = gemel::sim::kSeedsThatCover;
    // Large buffers come and go all the time: without this the kernel clears each of them anew,
    // which takes longer than everything else.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    // A seed that never ends shall have shown where it stands.
    if (trace) std::setvbuf(stdout, nullptr, _IOLBF, 1 << 16);
    if (shrink) return gemel::sim::minimise(seed, faults) ? 0 : 1;
    if (*one) return run_one(seed, trace, faults, options.replay_options);
    const auto run = [faults](uint64_t number) {
        return gemel::sim::VolumeScenario({.seed = number, .faults = faults}).run();
    };
    return gemel::sim::run_seeds(options, run) ? 0 : 1;
}
