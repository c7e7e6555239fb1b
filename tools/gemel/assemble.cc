// SPDX-License-Identifier: Apache-2.0
//
// gemel assemble: the volume file again, from the members.
#include <fmt/format.h>

#include "blockdev/inspect.h"
#include "blockdev/superblock.h"
#include "tools/config/volume_file.h"
#include "tools/gemel/create_checks.h"
#include "tools/gemel/print_volume.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

Task<Outcome<std::string>> read_volume_name(Env& env, std::string member) {
    DiskOptions options;
    options.read_only = true;
    Outcome<std::unique_ptr<Disk>> disk = env.open_disk(member, options);
    if (!disk.ok()) co_return disk.error();
    Outcome<blockdev::SuperblockReading> reading =
        co_await blockdev::read_superblocks(*disk.value());
    if (!reading.ok()) co_return reading.error();
    co_return blockdev::volume_name(*reading.value().superblock);
}

}  // namespace

int run_assemble(const AssembleArguments& arguments) {
    std::vector<std::string> members;
    for (const std::string& member : arguments.members) members.push_back(absolute_path(member));
    check_distinct(members);
    const std::unique_ptr<UringEnv> env = make_env();
    const std::string name = value_or_throw(run_task(*env, read_volume_name(*env, members[0])));
    // It comes from a disk, and becomes part of paths.
    value_or_throw(check_volume_name(name));
    const VolumePaths paths = volume_paths(arguments.folder, name);
    check_new_file(paths.file, "the volume file", arguments.force);
    check_socket_paths(paths);
    const std::string witness =
        arguments.witness ? absolute_path(*arguments.witness) : paths.witness;
    const mirror::VolumeDescription volume =
        value_or_throw(run_task(*env, mirror::assemble_volume(*env, members, witness)));
    value_or_throw(write_volume_file(paths.file, volume, arguments.force));
    print_volume("assembled", volume, paths.file, arguments.json);
    return kDone;
}

}  // namespace gemel::tools
