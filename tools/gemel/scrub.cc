// SPDX-License-Identifier: Apache-2.0
//
// gemel scrub: has the server of a volume begin a scrub, and waits for its end if asked to.
#include <fmt/format.h>

#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_answer.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

// The first status that knows of more passes than `passes`.
VolumeStatus wait_for_end(const std::string& socket, const std::string& given, uint64_t passes) {
    while (true) {
        VolumeStatus status = answer_or_throw(ask_status(socket), given);
        if (status.report.scrub.passes != passes) return status;
        throw_if_stopped(status);
        pause_before_next_look();
    }
}

}  // namespace

int run_scrub(const ScrubArguments& arguments) {
    const std::string file =
        value_or_throw(resolve_volume_file(arguments.volume, arguments.folder));
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    const std::string& name = description.name;
    const std::string socket = volume_paths(folder_of(file), name).control_socket;
    const std::string& given = arguments.volume;
    const VolumeStatus before = answer_or_throw(ask_status(socket), given);
    answer_or_throw(ask_scrub(socket), given);
    if (!arguments.wait) {
        fmt::print("scrubbing {}; 'gemel status {}' shows how far it is\n", name, given);
        return kDone;
    }
    const VolumeStatus ended = wait_for_end(socket, given, before.report.scrub.passes);
    fmt::print("{}", scrub_summary(ended.report));
    if (ended.report.unrecoverable_blocks == 0) return kDone;
    throw Failure(
        fmt::format("{} has unrecoverable blocks; 'gemel status {}' lists them", name, given));
}

}  // namespace gemel::tools
