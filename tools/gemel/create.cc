// SPDX-License-Identifier: Apache-2.0
//
// gemel create. Order matters: everything is checked before anything is made, the volume file
// comes last, and what was made is removed again if a later step fails.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "tools/config/volume_file.h"
#include "tools/gemel/create_checks.h"
#include "tools/gemel/print_volume.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

namespace {

std::vector<std::string> missing_ones(std::vector<std::string> paths) {
    struct stat status{};
    std::erase_if(paths,
                  [&](const std::string& path) { return lstat(path.c_str(), &status) == 0; });
    return paths;
}

// Removes files when it goes, unless told otherwise.
class RemoveUnlessKept {
public:
    explicit RemoveUnlessKept(std::vector<std::string> paths) : paths_(std::move(paths)) {}
    RemoveUnlessKept(const RemoveUnlessKept&) = delete;
    RemoveUnlessKept& operator=(const RemoveUnlessKept&) = delete;
    ~RemoveUnlessKept() {
        for (const std::string& path : paths_) unlink(path.c_str());
    }
    void keep() { paths_.clear(); }

private:
    std::vector<std::string> paths_;
};

// An interrupt must not leave half a volume behind: it waits until the members are complete, then
// counts as a failure, which removes them.
class DelayedInterrupt {
public:
    DelayedInterrupt() { UringEnv::block_signals({SIGINT, SIGTERM, SIGHUP}); }
    void check() const {
        sigset_t pending;
        sigemptyset(&pending);
        sigpending(&pending);
        for (int number : {SIGINT, SIGTERM, SIGHUP}) {
            if (sigismember(&pending, number) == 1) throw Failure("interrupted; nothing was made");
        }
    }
};

mirror::CreateOptions options_from(const CreateArguments& arguments, const VolumePaths& paths) {
    mirror::CreateOptions options;
    options.name = arguments.name;
    options.size = arguments.size;
    for (const std::string& member : arguments.members) {
        options.members.push_back(absolute_path(member));
    }
    for (const std::string& spare : arguments.spares) {
        options.spares.push_back(absolute_path(spare));
    }
    options.witness_path = arguments.witness ? absolute_path(*arguments.witness) : paths.witness;
    options.log_size = arguments.log_size;
    options.log_limit = arguments.log_limit;
    options.max_size = arguments.max_size;
    options.preallocate = arguments.preallocate;
    options.force = arguments.force;
    return options;
}

std::vector<std::string> member_paths(const mirror::CreateOptions& options) {
    std::vector<std::string> paths = options.members;
    paths.insert(paths.end(), options.spares.begin(), options.spares.end());
    return paths;
}

// A path that is not UTF-8 has no place in a volume file; known before anything is made.
void check_storable(const mirror::CreateOptions& options, const VolumePaths& paths) {
    mirror::VolumeDescription draft{options.name, {}, options.size, {}, options.witness_path};
    draft.uuid.bytes[0] = 1;
    for (const std::string& member : member_paths(options)) {
        ++draft.uuid.bytes[1];
        draft.members.push_back({member, draft.uuid});
    }
    value_or_throw(check_volume_description(draft, paths.file));
}

void check_paths(const mirror::CreateOptions& options, const VolumePaths& paths) {
    check_socket_paths(paths);
    std::vector<std::string> all = member_paths(options);
    all.push_back(options.witness_path);
    all.push_back(paths.file);
    // Nothing is there yet; once the volume is served, this is.
    all.push_back(paths.nbd_socket);
    all.push_back(paths.control_socket);
    check_distinct(all);
    check_new_file(paths.file, "the volume file", options.force);
    check_new_file(options.witness_path, "the witness", options.force);
    check_member_paths(member_paths(options));
    check_storable(options, paths);
}

std::vector<std::string> files_of(const mirror::CreateOptions& options) {
    std::vector<std::string> files = member_paths(options);
    files.push_back(options.witness_path);
    return files;
}

}  // namespace

int run_create(const CreateArguments& arguments) {
    check_create_arguments(arguments);
    const VolumePaths paths = volume_paths(arguments.folder, arguments.name);
    const mirror::CreateOptions options = options_from(arguments, paths);
    check_paths(options, paths);

    const DelayedInterrupt interrupt;
    const std::unique_ptr<UringEnv> env = make_env();
    const std::vector<std::string> new_files = missing_ones(files_of(options));
    const mirror::VolumeDescription volume =
        value_or_throw(run_task(*env, mirror::create_volume(*env, options)));
    // Up to here create_volume has cleaned up after itself; now it is our turn.
    RemoveUnlessKept made(new_files);
    interrupt.check();
    value_or_throw(write_volume_file(paths.file, volume, arguments.force));
    made.keep();
    print_volume("created", volume, paths.file, arguments.json);
    return kDone;
}

}  // namespace gemel::tools
