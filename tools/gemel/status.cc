// SPDX-License-Identifier: Apache-2.0
//
// gemel status: the server is asked; without one, the members' superblocks are.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tools/config/volume_file.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/control_client.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/unserved.h"
#include "tools/gemel/verbs.h"
#include "tools/gemel/watch.h"

namespace gemel::tools {

namespace {

Task<void> look(Env& env, mirror::VolumeDescription description, std::string file,
                VolumeStatus& found) {
    found = co_await unserved_status(env, std::move(description), std::move(file));
}

VolumeStatus look_at_unserved(const mirror::VolumeDescription& description,
                              const std::string& file) {
    const std::unique_ptr<UringEnv> env = make_env();
    VolumeStatus found;
    env->run(look(*env, description, file, found));
    return found;
}

VolumeStatus status_of(const std::string& file) {
    const mirror::VolumeDescription description = value_or_throw(read_volume_file(file));
    Outcome<VolumeStatus> answer = ask_status_of(description, file);
    if (!answer.ok() && means_no_server(answer.error())) {
        return look_at_unserved(description, file);
    }
    if (!answer.ok()) throw Failure(answer.error());
    return std::move(answer).value();
}

// In the order of their names.
std::vector<std::string> volume_files_in(const std::string& folder) {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(absolute_path(folder))) {
        if (entry.path().extension() == ".toml" && looks_like_volume_file(entry.path().string())) {
            files.push_back(entry.path().string());
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

void print(const std::vector<VolumeStatus>& volumes, bool json) {
    if (json) {
        fmt::print("{}", status_document_json(volumes));
        return;
    }
    for (size_t i = 0; i < volumes.size(); ++i) {
        fmt::print("{}{}", i == 0 ? "" : "\n", status_table(volumes[i]));
    }
}

}  // namespace

int run_status(const StatusArguments& arguments) {
    if (arguments.volume) {
        const std::string file =
            value_or_throw(resolve_volume_file(*arguments.volume, arguments.folder));
        if (arguments.watch) return watch_volume(file, *arguments.volume);
        print({status_of(file)}, arguments.json);
        return kDone;
    }
    std::vector<VolumeStatus> volumes;
    std::string problems;
    for (const std::string& file : volume_files_in(arguments.folder)) {
        try {
            volumes.push_back(status_of(file));
        } catch (const Failure& failure) {
            // One broken volume must not hide the others.
            problems += (problems.empty() ? "" : "; also ") + std::string(failure.what());
        }
    }
    if (volumes.empty() && problems.empty() && !arguments.json) {
        fmt::print("no volumes in {}\n", absolute_path(arguments.folder));
        return kDone;
    }
    print(volumes, arguments.json);
    if (!problems.empty()) throw Failure(problems);
    return kDone;
}

}  // namespace gemel::tools
