// SPDX-License-Identifier: Apache-2.0
//
// The only file that knows spdlog.
#include "tools/gemel/server_log.h"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "tools/gemel/plain_text.h"

namespace gemel::tools {

namespace {

constexpr size_t kQueueLines = 1024;
constexpr std::chrono::seconds kFinishLimit{1};

// What lines about the volume begin with; the pattern says it already.
std::string name_prefix;

spdlog::level::level_enum level_of(LogLevel level) {
    switch (level) {
        case LogLevel::debug: return spdlog::level::debug;
        case LogLevel::info: return spdlog::level::info;
        case LogLevel::warning: return spdlog::level::warn;
        case LogLevel::error: return spdlog::level::err;
    }
    return spdlog::level::err;
}

}  // namespace

void start_server_log(const std::string& volume_name) {
    name_prefix = volume_name + ": ";
    spdlog::init_thread_pool(kQueueLines, 1);
    auto logger = spdlog::create_async_nb<spdlog::sinks::stderr_sink_mt>("gemel");
    logger->set_level(spdlog::level::info);
    logger->flush_on(spdlog::level::info);
    // The name has no '%': it was checked.
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l volume=" + volume_name + " %v");
    spdlog::set_default_logger(std::move(logger));
}

void finish_server_log(int code) {
    std::promise<void> written;
    std::future<void> done = written.get_future();
    std::thread writer([&written] {
        spdlog::shutdown();
        written.set_value();
    });
    if (done.wait_for(kFinishLimit) != std::future_status::ready) std::_Exit(code);
    writer.join();
}

void log_to_server_log(LogLevel level, std::string_view text) {
    if (text.starts_with(name_prefix)) text.remove_prefix(name_prefix.size());
    spdlog::default_logger_raw()->log(level_of(level), plain_text(text));
}

}  // namespace gemel::tools
