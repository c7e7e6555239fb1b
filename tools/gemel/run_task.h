// SPDX-License-Identifier: Apache-2.0
//
// From the world of verbs, which throw, into that of tasks, which return, and back.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "blockdev/task.h"
#include "blockdev/uring_env.h"
#include "tools/gemel/arguments.h"

namespace gemel::tools {

// Throws Failure.
template <typename T>
T value_or_throw(Outcome<T> outcome) {
    if (!outcome.ok()) throw Failure(outcome.error());
    if constexpr (!std::is_void_v<T>) return std::move(outcome).value();
}

inline std::unique_ptr<UringEnv> make_env(UringOptions options = {}) {
    return value_or_throw(UringEnv::create(options));
}

template <typename T>
Task<void> keep_outcome(Task<Outcome<T>> task, std::optional<Outcome<T>>& outcome) {
    outcome.emplace(co_await std::move(task));
}

// Runs the loop until `task` is done, then returns what it yielded.
template <typename T>
Outcome<T> run_task(UringEnv& env, Task<Outcome<T>> task) {
    std::optional<Outcome<T>> outcome;
    env.run(keep_outcome(std::move(task), outcome));
    CHECK(outcome.has_value());
    return std::move(*outcome);
}

}  // namespace gemel::tools
