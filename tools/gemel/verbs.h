// SPDX-License-Identifier: Apache-2.0
//
// The verbs, one source file each. They print what they did on standard output and return the exit
// code; what went wrong is thrown as Failure or UsageError.
#pragma once

#include "tools/gemel/arguments.h"

namespace gemel::tools {

int run_create(const CreateArguments& arguments);
int run_serve(const ServeArguments& arguments);
int run_attach_verb(const AttachArguments& arguments);
int run_detach_verb(const DetachArguments& arguments);
int run_status(const StatusArguments& arguments);
int run_scrub(const ScrubArguments& arguments);
int run_member(const MemberArguments& arguments);
int run_inspect(const InspectArguments& arguments);
int run_inject(const InjectArguments& arguments);
int run_assemble(const AssembleArguments& arguments);

inline int run_verb(const NothingToDo&) { return kDone; }
inline int run_verb(const CreateArguments& arguments) { return run_create(arguments); }
inline int run_verb(const ServeArguments& arguments) { return run_serve(arguments); }
inline int run_verb(const AttachArguments& arguments) { return run_attach_verb(arguments); }
inline int run_verb(const DetachArguments& arguments) { return run_detach_verb(arguments); }
inline int run_verb(const StatusArguments& arguments) { return run_status(arguments); }
inline int run_verb(const ScrubArguments& arguments) { return run_scrub(arguments); }
inline int run_verb(const MemberArguments& arguments) { return run_member(arguments); }
inline int run_verb(const InspectArguments& arguments) { return run_inspect(arguments); }
inline int run_verb(const InjectArguments& arguments) { return run_inject(arguments); }
inline int run_verb(const AssembleArguments& arguments) { return run_assemble(arguments); }

}  // namespace gemel::tools
