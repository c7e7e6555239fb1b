// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/runner.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <deque>
#include <memory>
#include <vector>

#include "blockdev/assert.h"
#include "tests/sim/coverage.h"

namespace gemel::sim {

namespace {

// A process starts cold, and tells of its failures at its end.
constexpr uint64_t kBatchMax = 100;
constexpr uint64_t kBatchesPerJob = 4;

// Of all processes that have ended.
double core_minutes() {
    rusage usage{};
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    const auto seconds = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
    const auto micros = static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return (seconds + micros / 1e6) / 60;
}

class Runner {
public:
    Runner(const RunnerOptions& options, const SeedFunction& run);
    bool run_all();

private:
    void reap();
    void judge(SeedBatch& batch, int wait_status);
    void fail(uint64_t seed, const std::string& why);
    void print_summary(double seconds);
    bool check_coverage();

    const RunnerOptions& options_;
    const SeedFunction& run_;
    std::deque<SeedRange> waiting_;
    std::vector<std::unique_ptr<SeedBatch>> running_;
    SeedReport total_;
    uint64_t failures_ = 0;
};

Runner::Runner(const RunnerOptions& options, const SeedFunction& run)
    : options_(options), run_(run) {
    const uint64_t share = options.count / (options.jobs * kBatchesPerJob);
    const uint64_t size = std::clamp<uint64_t>(share, 1, kBatchMax);
    for (uint64_t done = 0; done < options.count; done += size) {
        waiting_.push_back({options.from + done, std::min(size, options.count - done)});
    }
}

bool Runner::run_all() {
    const auto start = std::chrono::steady_clock::now();
    while (!waiting_.empty() || !running_.empty()) {
        if (failures_ >= options_.failures_max) waiting_.clear();
        if (waiting_.empty() || running_.size() == options_.jobs) {
            if (!running_.empty()) reap();
            continue;
        }
        running_.push_back(std::make_unique<SeedBatch>(options_.each, run_, waiting_.front()));
        waiting_.pop_front();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    print_summary(took.count());
    return check_coverage() && failures_ == 0;
}

void Runner::reap() {
    int status = 0;
    const pid_t pid = wait(&status);
    CHECK(pid > 0 || errno == EINTR);
    for (size_t i = 0; i < running_.size(); ++i) {
        if (running_[i]->pid() != pid) continue;
        judge(*running_[i], status);
        running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
        return;
    }
}

// The seeds after one that failed have not run yet.
void Runner::judge(SeedBatch& batch, int wait_status) {
    SeedRange left = batch.seeds();
    for (const SeedReport& report : batch.reports(wait_status)) {
        for (const auto& [what, times] : report.counts) total_.count(what, times);
        // Whatever the order in which they end.
        total_.trace_hash += (report.trace_hash ^ left.first) * 0x9e3779b97f4a7c15ull;
        if (!report.failure.empty()) fail(left.first, report.failure);
        ++left.first;
        --left.count;
    }
    if (left.count != 0) waiting_.push_front(left);
}

void Runner::fail(uint64_t seed, const std::string& why) {
    ++failures_;
    std::printf("seed %" PRIu64 " FAILED: %s\n  replay: gemel-sim --seed %" PRIu64 "%s --trace\n",
                seed, why.c_str(), seed, options_.replay_options.c_str());
    std::fflush(stdout);
}

void Runner::print_summary(double seconds) {
    print_counts(total_);
    const uint64_t seeds = total_.counts["seeds"];
    const auto each = [&](const char* what) {
        return seeds == 0 ? 0
                          : static_cast<double>(total_.counts[what]) / static_cast<double>(seeds);
    };
    std::printf("%12.1f  operations per seed\n%12.1f  faults per seed\n%12.1f  crashes per seed\n",
                each("operations"), each("faults"), each("crashes"));
    const double minutes = core_minutes();
    std::printf("%12.0f  seeds per core-minute\n%12.0f  operations checked per core-minute\n",
                static_cast<double>(seeds) / minutes,
                static_cast<double>(total_.counts["operations"]) / minutes);
    std::printf("traces of all: %016" PRIx64 "\n", total_.trace_hash);
    std::printf("%" PRIu64 " seeds in %.1f s with %" PRIu64 " jobs: %" PRIu64 " failed\n", seeds,
                seconds, options_.jobs, failures_);
}

bool Runner::check_coverage() {
    if (total_.counts["seeds"] < options_.covers_from) return true;
    const std::vector<std::string> missing = not_covered(total_);
    for (const std::string& what : missing) std::printf("NEVER SEEN: %s\n", what.c_str());
    return missing.empty();
}

}  // namespace

SeedReport run_apart(const SeedFunction& run, uint64_t seed) {
    SeedBatch batch({}, run, {seed, 1});
    int status = 0;
    while (waitpid(batch.pid(), &status, 0) != batch.pid()) CHECK(errno == EINTR);
    return batch.reports(status).front();
}

bool run_seeds(const RunnerOptions& options, const SeedFunction& run) {
    return Runner(options, run).run_all();
}

void print_counts(const SeedReport& report) {
    for (const auto& [what, times] : report.counts) {
        std::printf("%12" PRIu64 "  %s\n", times, what.c_str());
    }
}

}  // namespace gemel::sim
