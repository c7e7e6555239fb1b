// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/seed_batch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include "blockdev/assert.h"
#include "tests/sim/seed_memory.h"

namespace gemel::sim {

namespace {

void write_report(std::FILE* file, const SeedReport& report) {
    std::fprintf(file, "%" PRIu64 "\n", report.trace_hash);
    for (const auto& [what, times] : report.counts) {
        std::fprintf(file, "%" PRIu64 " %s\n", times, what.c_str());
    }
    if (!report.failure.empty()) std::fprintf(file, "! %s\n", report.failure.c_str());
    std::fprintf(file, ".\n");
    std::fflush(file);
}

// False if there is no whole report any more.
bool read_report(std::FILE* file, SeedReport& report) {
    char line[4096];
    if (std::fgets(line, sizeof line, file) == nullptr) return false;
    report.trace_hash = std::strtoull(line, nullptr, 10);
    while (std::fgets(line, sizeof line, file) != nullptr) {
        std::string text(line, std::strcspn(line, "\n"));
        if (text == ".") return true;
        if (text.starts_with("! ")) {
            report.failure = text.substr(2);
            continue;
        }
        char* rest = nullptr;
        const uint64_t times = std::strtoull(text.c_str(), &rest, 10);
        report.counts[rest + 1] += times;
    }
    return false;
}

// False if the seed failed.
bool run_one(const BatchOptions& options, const SeedFunction& run, uint64_t seed,
             std::FILE* answer) {
    uint64_t first_hash = 0;
    if (options.twice) {
        const SeedMemory memory;
        first_hash = run(seed).trace_hash;
    }
    const SeedMemory memory;
    SeedReport report = run(seed);
    if (options.twice && report.trace_hash != first_hash) {
        report.fail("two runs of the seed differ");
    }
    write_report(answer, report);
    return report.failure.empty();
}

std::string death(int wait_status) {
    if (!WIFSIGNALED(wait_status)) return "ended without a report";
    const int signal = WTERMSIG(wait_status);
    if (signal == SIGALRM) return "did not end in time";
    return std::string("died: ") + strsignal(signal);
}

}  // namespace

SeedBatch::SeedBatch(const BatchOptions& options, const SeedFunction& run, SeedRange seeds)
    : seeds_(seeds), answer_(std::tmpfile()) {
    CHECK(answer_ != nullptr && seeds.count != 0);
    std::fflush(nullptr);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ != 0) return;
    for (uint64_t i = 0; i < seeds.count; ++i) {
        alarm(options.seconds_max);
        if (!run_one(options, run, seeds.first + i, answer_)) break;
    }
    std::_Exit(0);
}

SeedBatch::~SeedBatch() { std::fclose(answer_); }

std::vector<SeedReport> SeedBatch::reports(int wait_status) {
    std::rewind(answer_);
    std::vector<SeedReport> reports;
    while (reports.size() < seeds_.count) {
        SeedReport report;
        const bool whole = read_report(answer_, report);
        if (!whole) report.fail(death(wait_status));
        const bool failed = !report.failure.empty();
        reports.push_back(std::move(report));
        if (failed) break;
    }
    return reports;
}

}  // namespace gemel::sim
