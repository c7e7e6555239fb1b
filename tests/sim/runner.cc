// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/runner.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "blockdev/assert.h"

namespace gemel::sim {

namespace {

struct Child {
    uint64_t seed = 0;
    pid_t pid = 0;
    FILE* answer = nullptr;  // A file without a name, shared with the child.
};

void write_report(FILE* file, const SeedReport& report) {
    std::fprintf(file, "%" PRIu64 "\n", report.trace_hash);
    for (const auto& [what, times] : report.counts) {
        std::fprintf(file, "%" PRIu64 " %s\n", times, what.c_str());
    }
    if (!report.failure.empty()) std::fprintf(file, "! %s\n", report.failure.c_str());
    std::fprintf(file, ".\n");
    std::fflush(file);
}

// False if the child did not come to the end of its report.
bool read_report(FILE* file, SeedReport& report) {
    std::rewind(file);
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

Child start_child(const RunnerOptions& options, const SeedFunction& run, uint64_t seed) {
    std::fflush(nullptr);
    Child child;
    child.seed = seed;
    child.answer = std::tmpfile();
    CHECK(child.answer != nullptr);
    child.pid = fork();
    CHECK(child.pid >= 0);
    if (child.pid != 0) return child;
    alarm(options.seconds_max);
    SeedReport report = run(seed);
    if (options.twice && run(seed).trace_hash != report.trace_hash) {
        report.fail("two runs of the seed differ");
    }
    write_report(child.answer, report);
    std::_Exit(0);
}

// What the child says, or what its end says of it.
SeedReport report_of(const Child& child, int wait_status) {
    SeedReport report;
    const bool whole = read_report(child.answer, report);
    if (!report.failure.empty()) return report;
    if (WIFSIGNALED(wait_status)) {
        const int signal = WTERMSIG(wait_status);
        report.fail(signal == SIGALRM ? "did not end in time"
                                      : std::string("died: ") + strsignal(signal));
    } else if (!whole || WEXITSTATUS(wait_status) != 0) {
        report.fail("ended without a report");
    }
    return report;
}

class Runner {
public:
    Runner(const RunnerOptions& options, const SeedFunction& run) : options_(options), run_(run) {}
    bool run_all();

private:
    void start(uint64_t seed);
    void reap();
    void judge(const Child& child, int wait_status);
    void fail(uint64_t seed, const std::string& why);

    const RunnerOptions& options_;
    const SeedFunction& run_;
    std::vector<Child> children_;
    SeedReport total_;
    uint64_t failures_ = 0;
};

bool Runner::run_all() {
    const auto start_time = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < options_.count && failures_ < options_.failures_max; ++i) {
        if (children_.size() == options_.jobs) reap();
        start(options_.from + i);
    }
    while (!children_.empty()) reap();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start_time;
    print_counts(total_);
    if (const uint64_t seeds = total_.counts["seeds"]; seeds != 0) {
        std::printf("%12.1f  faults per seed\n",
                    static_cast<double>(total_.counts["faults"]) / static_cast<double>(seeds));
    }
    std::printf("%" PRIu64 " seeds in %.1f s with %" PRIu64 " jobs: %" PRIu64 " failed\n",
                total_.counts["seeds"], took.count(), options_.jobs, failures_);
    return failures_ == 0;
}

void Runner::start(uint64_t seed) { children_.push_back(start_child(options_, run_, seed)); }

void Runner::reap() {
    int status = 0;
    const pid_t pid = wait(&status);
    CHECK(pid > 0 || errno == EINTR);
    for (size_t i = 0; i < children_.size(); ++i) {
        if (children_[i].pid != pid) continue;
        judge(children_[i], status);
        std::fclose(children_[i].answer);
        children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(i));
        return;
    }
}

void Runner::judge(const Child& child, int wait_status) {
    const SeedReport report = report_of(child, wait_status);
    for (const auto& [what, times] : report.counts) total_.count(what, times);
    if (!report.failure.empty()) fail(child.seed, report.failure);
}

void Runner::fail(uint64_t seed, const std::string& why) {
    ++failures_;
    std::printf("seed %" PRIu64 " FAILED: %s\n  replay: gemel-sim --seed %" PRIu64 "%s --trace\n",
                seed, why.c_str(), seed, options_.replay_options.c_str());
}

}  // namespace

SeedReport run_apart(const RunnerOptions& options, const SeedFunction& run, uint64_t seed) {
    const Child child = start_child(options, run, seed);
    int status = 0;
    while (waitpid(child.pid, &status, 0) != child.pid) CHECK(errno == EINTR);
    SeedReport report = report_of(child, status);
    std::fclose(child.answer);
    return report;
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
