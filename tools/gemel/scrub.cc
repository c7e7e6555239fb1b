// SPDX-License-Identifier: Apache-2.0
//
// gemel scrub: has the server of a volume begin a scrub, and waits for its end if asked to.
#include <fmt/format.h>
#include <time.h>

#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

constexpr timespec kLookAgain = {0, 100'000'000};

// `given` is what the operator called the volume.
void throw_unless_answered(const Outcome<VolumeStatus>& answer, const std::string& given) {
    if (answer.ok()) return;
    if (!means_no_server(answer.error())) throw Failure(answer.error().text);
    throw Failure(fmt::format("{} is not served; start it with 'gemel serve {}'", given, given));
}

// The first status that knows of more passes than `passes`.
Outcome<VolumeStatus> wait_for_end(const std::string& socket, const std::string& given,
                                   uint64_t passes) {
    while (true) {
        Outcome<VolumeStatus> answer = ask_status(socket);
        throw_unless_answered(answer, given);
        const mirror::VolumeReport& report = answer.value().report;
        if (report.scrub.passes != passes) return answer;
        if (!report.stopped_because.empty()) {
            throw Failure(fmt::format("{} has stopped: {}", report.name, report.stopped_because));
        }
        nanosleep(&kLookAgain, nullptr);
    }
}

}  // namespace

int run_scrub(const ScrubArguments& arguments) {
    const std::string file =
        value_or_throw(resolve_volume_file(arguments.volume, arguments.folder));
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    const std::string& name = description.name;
    const std::string socket = volume_paths(folder_of(file), name).control_socket;
    const Outcome<VolumeStatus> before = ask_status(socket);
    throw_unless_answered(before, arguments.volume);
    const Outcome<VolumeStatus> begun = ask_scrub(socket);
    throw_unless_answered(begun, arguments.volume);
    if (!arguments.wait) {
        fmt::print("scrubbing {}; 'gemel status {}' shows how far it is\n", name, arguments.volume);
        return kDone;
    }
    const Outcome<VolumeStatus> ended =
        wait_for_end(socket, arguments.volume, before.value().report.scrub.passes);
    const mirror::VolumeReport& report = ended.value().report;
    fmt::print("{}", scrub_summary(report));
    if (report.unrecoverable_blocks == 0) return kDone;
    throw Failure(fmt::format("{} has unrecoverable blocks; 'gemel status {}' lists them", name,
                              arguments.volume));
}

}  // namespace gemel::tools
