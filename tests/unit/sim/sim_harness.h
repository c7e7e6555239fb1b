// SPDX-License-Identifier: Apache-2.0
//
// A world with one process and one drive, and ways to run a coroutine in it.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "blockdev/bytes.h"
#include "blockdev/task.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_world.h"

namespace gemel::sim {

inline constexpr uint64_t kLongNs = 3600 * kSecond;

class Harness {
public:
    explicit Harness(uint64_t seed = 1) : world({.seed = seed}) {
        drive = &world.add_drive({.path = "/disk", .size = 1 << 20});
        start();
    }
    // Tasks of killed processes never end: their scopes stay behind.
    ~Harness() {
        if (process->alive()) delete scope_;
    }

    void start() {
        process = &world.start_process();
        scope_ = new Scope(*process);
    }
    std::unique_ptr<Disk> open(const std::string& path = "/disk", DiskOptions options = {}) {
        auto opened = process->open_disk(path, options);
        CHECK(opened.ok());
        return std::move(opened).value();
    }
    void spawn(Task<void> task) { scope_->start(std::move(task)); }
    // Runs until all tasks have ended; false if they never will.
    bool finish() {
        Scope* scope = scope_;
        return world.run_until([scope] { return scope->running() == 0; }, world.now_ns() + kLongNs);
    }
    bool run(Task<void> task) {
        spawn(std::move(task));
        return finish();
    }
    // Runs all that will still happen, for as long as something does.
    void settle() {
        while (world.step()) {}
    }
    std::byte platter_byte(uint64_t offset) {
        std::byte value{};
        drive->platter().read(offset, {&value, 1});
        return value;
    }

    SimWorld world;
    SimEnv* process = nullptr;
    Drive* drive = nullptr;

private:
    Scope* scope_ = nullptr;
};

// Pages filled with one value, and what became of an operation on them.
struct Block {
    explicit Block(uint8_t fill = 0, size_t pages = 1)
        : size(pages * kPageSize), data(allocate_aligned(size)) {
        std::memset(data.get(), fill, size);
    }
    std::span<std::byte> bytes() { return {data.get(), size}; }

    size_t size;
    AlignedBytes data;
    Status status = Error{Errc::timed_out, 0, "never completed"};
    bool done = false;
};

inline Task<void> write_block(Disk& disk, uint64_t offset, Block& block) {
    block.status = co_await disk.write(offset, block.bytes());
    block.done = true;
}
inline Task<void> read_block(Disk& disk, uint64_t offset, Block& block) {
    block.status = co_await disk.read(offset, block.bytes());
    block.done = true;
}
inline Task<void> sync_disk(Disk& disk, Block& block) {
    block.status = co_await disk.sync();
    block.done = true;
}
inline Task<void> clear_range(Disk& disk, IoKind kind, uint64_t offset, uint64_t length,
                              Block& block) {
    if (kind == IoKind::punch) {
        block.status = co_await disk.punch(offset, length);
    } else {
        block.status = co_await disk.zero(offset, length);
    }
    block.done = true;
}

}  // namespace gemel::sim
