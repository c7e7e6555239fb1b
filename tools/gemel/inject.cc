// SPDX-License-Identifier: Apache-2.0
//
// gemel inject: damages a member on purpose, or remembers what it holds.
#include "blockdev/inject.h"

#include <fmt/format.h>

#include "blockdev/recording.h"
#include "tools/config/volume_name.h"
#include "tools/gemel/injection_json.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

int run_inject(const InjectArguments& arguments) {
    const std::unique_ptr<UringEnv> env = make_env();
    const std::string member = absolute_path(arguments.member);
    blockdev::InjectOptions options = arguments.options;
    if (options.recording) options.recording = absolute_path(*options.recording);
    if (!arguments.damages) {
        const blockdev::RecordingSummary summary = value_or_throw(
            run_task(*env, blockdev::record_member(*env, member, *options.recording)));
        fmt::print("{}", recording_json(member, *options.recording, summary));
        return kDone;
    }
    options.seed = arguments.seed ? *arguments.seed : env->random_u64();
    const blockdev::Injection injection =
        value_or_throw(run_task(*env, blockdev::inject_damage(*env, member, options)));
    fmt::print("{}", injection_json(member, options, injection));
    return kDone;
}

}  // namespace gemel::tools
