// SPDX-License-Identifier: Apache-2.0
//
// What a request pays for being a coroutine on a loop.
#include <benchmark/benchmark.h>

#include "blockdev/event.h"
#include "blockdev/loop.h"
#include "blockdev/task.h"

namespace gemel {
namespace {

class BareLoop : public Loop {
public:
    uint64_t now_ns() const override { return 0; }
    void run() { run_ready(); }
};

void loop_post_and_run(benchmark::State& state) {
    BareLoop loop;
    uint64_t ran = 0;
    Continuation continuation;
    continuation.context = &ran;
    continuation.run = [](void* counter) { ++*static_cast<uint64_t*>(counter); };
    for (auto _ : state) {
        loop.post(continuation);
        loop.run();
    }
    benchmark::DoNotOptimize(ran);
}
BENCHMARK(loop_post_and_run);

void timer_arm_and_disarm(benchmark::State& state) {
    BareLoop loop;
    // As many as a busy volume has deadlines in flight.
    Timer others[256];
    for (uint64_t i = 0; i < 256; ++i) loop.arm(others[i], 1'000 + i);
    Timer timer;
    for (auto _ : state) {
        loop.arm(timer, 1'128);
        loop.disarm(timer);
    }
    for (Timer& other : others) loop.disarm(other);
}
BENCHMARK(timer_arm_and_disarm);

Task<uint64_t> immediate(uint64_t value) { co_return value; }
Task<void> await_immediate(benchmark::State& state) {
    uint64_t sum = 0;
    for (auto _ : state) sum += co_await immediate(1);
    benchmark::DoNotOptimize(sum);
}
void task_await_without_suspending(benchmark::State& state) {
    BareLoop loop;
    Scope scope(loop);
    scope.start(await_immediate(state));
}
BENCHMARK(task_await_without_suspending);

Task<uint64_t> suspending(Loop& loop, uint64_t value) {
    co_await yield(loop);
    co_return value;
}
Task<void> await_suspending(Loop& loop, benchmark::State& state) {
    uint64_t sum = 0;
    for (auto _ : state) sum += co_await suspending(loop, 1);
    benchmark::DoNotOptimize(sum);
}
void task_await_suspending_once(benchmark::State& state) {
    BareLoop loop;
    Scope scope(loop);
    scope.start(await_suspending(loop, state));
    loop.run();
}
BENCHMARK(task_await_suspending_once);

Task<void> nothing() { co_return; }
void scope_start(benchmark::State& state) {
    BareLoop loop;
    Scope scope(loop);
    for (auto _ : state) scope.start(nothing());
}
BENCHMARK(scope_start);

Task<void> wait_for(Event& event) { co_await event.wait(); }
void event_wakes_waiters(benchmark::State& state) {
    BareLoop loop;
    Event event(loop);
    Scope scope(loop);
    for (auto _ : state) {
        for (int64_t i = 0; i < state.range(0); ++i) scope.start(wait_for(event));
        event.notify_all();
        loop.run();
    }
    state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(event_wakes_waiters)->Arg(1)->Arg(32);

}  // namespace
}  // namespace gemel
