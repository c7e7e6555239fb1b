// SPDX-License-Identifier: Apache-2.0
#include "tools/gemel/server_answer.h"

#include <fmt/format.h>
#include <time.h>

#include <utility>

#include "tools/gemel/arguments.h"
#include "tools/gemel/control_client.h"

namespace gemel::tools {

VolumeStatus answer_or_throw(Outcome<VolumeStatus> answer, const std::string& given) {
    if (answer.ok()) return std::move(answer).value();
    if (!means_no_server(answer.error())) throw Failure(answer.error());
    throw Failure(fmt::format("{} is not served; start it with 'gemel serve {}'", given, given));
}

void throw_if_stopped(const VolumeStatus& status) {
    if (status.report.stopped_because.empty()) return;
    throw Failure(
        fmt::format("{} has stopped: {}", status.report.name, status.report.stopped_because));
}

void pause_before_next_look() {
    constexpr timespec kPause = {0, 100'000'000};
    nanosleep(&kPause, nullptr);
}

}  // namespace gemel::tools
