// SPDX-License-Identifier: Apache-2.0
//
// Who runs: the identity of this process, and whether another one is still alive.
#pragma once

#include "blockdev/env.h"

namespace gemel {

ProcessId current_process();
// The process that has this number now. Its start time is 0 if there is none.
ProcessId process_with(uint64_t pid);

// False if the host has rebooted since, the process has gone, is a zombie, is being torn down, or
// has a SIGKILL waiting for it.
bool process_is_alive(const ProcessId& process);

}  // namespace gemel
