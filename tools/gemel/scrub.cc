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
VolumeStatus value_of(Outcome<VolumeStatus> answer, const std::string& given) {
    if (!answer.ok() && means_no_server(answer.error())) {
        throw Failure(
            fmt::format("{} is not served; start it with 'gemel serve {}'", given, given));
    }
    return value_or_throw(std::move(answer));
}

}  // namespace

int run_scrub(const ScrubArguments& arguments) {
    const std::string file =
        value_or_throw(resolve_volume_file(arguments.volume, arguments.folder));
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    const std::string& name = description.name;
    const std::string socket = volume_paths(folder_of(file), name).control_socket;
    const uint64_t passes = value_of(ask_status(socket), arguments.volume).report.scrub.passes;
    VolumeStatus status = value_of(ask_scrub(socket), arguments.volume);
    if (!arguments.wait) {
        fmt::print("scrubbing {}; 'gemel status {}' shows how far it is\n", name, arguments.volume);
        return kDone;
    }
    while (status.report.scrub.passes == passes) {
        if (!status.report.stopped_because.empty()) {
            throw Failure(fmt::format("{} has stopped: {}", name, status.report.stopped_because));
        }
        nanosleep(&kLookAgain, nullptr);
        status = value_of(ask_status(socket), arguments.volume);
    }
    const mirror::ScrubReport& scrub = status.report.scrub;
    fmt::print(
        "scrubbed {}: {} blocks checked, {} blocks, {} tables and {} logs healed, {} blocks "
        "unrecoverable\n",
        name, scrub.blocks_checked, scrub.blocks_healed, scrub.tables_repaired, scrub.logs_healed,
        status.report.unrecoverable_blocks);
    if (status.report.unrecoverable_blocks == 0) return kDone;
    throw Failure(fmt::format("{} has unrecoverable blocks; 'gemel status {}' lists them", name,
                              arguments.volume));
}

}  // namespace gemel::tools
