// SPDX-License-Identifier: Apache-2.0
//
// gemel inspect: reads a member, changes nothing.
#include <fmt/format.h>

#include "tools/config/volume_name.h"
#include "tools/gemel/inspection_report.h"
#include "tools/gemel/run_task.h"
#include "tools/gemel/verbs.h"

namespace gemel::tools {

int run_inspect(const InspectArguments& arguments) {
    const std::unique_ptr<UringEnv> env = make_env();
    const blockdev::MemberInspection member = value_or_throw(
        run_task(*env, blockdev::inspect_member(*env, absolute_path(arguments.member))));
    fmt::print("{}", arguments.json ? inspection_json(member) : inspection_text(member));
    return kDone;
}

}  // namespace gemel::tools
