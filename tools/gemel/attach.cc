// SPDX-License-Identifier: Apache-2.0
//
// gemel attach and detach: from a volume's name to the NBD URI of its server; tools/attach does the
// rest.
#include "tools/attach/attach.h"

#include <fmt/format.h>

#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/nbd_address.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/server_answer.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

// The server knows where it listens; the default socket is only where it usually does.
std::string uri_of_volume(const std::string& volume, const std::string& folder) {
    const std::string file = value_or_throw(resolve_volume_file(volume, folder));
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    const VolumePaths paths = volume_paths(folder_of(file), description.name);
    const VolumeStatus known = answer_or_throw(ask_status(paths.control_socket), volume);
    if (!known.server || known.server->addresses.empty()) {
        throw Failure(fmt::format("the server of {} listens nowhere", description.name));
    }
    return nbd_uri(preferred_address(known.server->addresses), description.name);
}

}  // namespace

int run_attach_verb(const AttachArguments& arguments) {
    AttachOptions options;
    const bool is_uri = arguments.target.find("://") != std::string::npos;
    options.uri = is_uri ? arguments.target : uri_of_volume(arguments.target, arguments.folder);
    options.as = arguments.front_end;
    options.timeout = std::chrono::milliseconds(arguments.timeout_ns / kMillisecond);
    return run_attach(options);
}

int run_detach_verb(const DetachArguments& arguments) {
    return run_detach(DetachOptions{arguments.device});
}

}  // namespace gemel::tools
